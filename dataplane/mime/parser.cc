#include "dataplane/mime/parser.h"

#include <algorithm>
#include <new>

#include "dataplane/mime/context.h"
#include "dataplane/mime/layer.h"

namespace sluice::mime {

struct Parser::Impl {
  Impl(const Limits& limits, ParserSink& sink, std::pmr::memory_resource* memory)
      : shared(sink, memory),
        limits(bounded(limits)),
        context(this->limits, shared, 0),
        layer(context, 0, 0, false) {}

  static Limits bounded(Limits l) {
    l.parts = std::clamp<std::uint32_t>(l.parts, 1, kAlternativeParts);
    l.archive_depth = std::min(l.archive_depth, kArchiveDepth);
    return l;
  }

  Shared shared;
  const Limits limits;
  Context context;
  Layer layer;
  bool begun = false;
  bool finished = false;
  bool out_of_memory = false;

  // The memory resource may be bounded: then the message goes on undivided.
  template <typename F>
  void guarded(F&& work) {
    try {
      work();
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
      context.raise(contract::Anomaly::limit);
    }
  }
};

Parser::Parser(const Limits& limits, ParserSink& sink, std::pmr::memory_resource* memory)
    : impl_(std::pmr::polymorphic_allocator<>(memory).new_object<Impl>(limits, sink, memory)),
      memory_(memory) {}

Parser::~Parser() { std::pmr::polymorphic_allocator<>(memory_).delete_object(impl_); }

void Parser::feed(Bytes octets) {
  Impl& impl = *impl_;
  if (octets.empty() || impl.finished) return;
  if (impl.out_of_memory) return impl.shared.sink.on_part_data(0, DataKind::alternative, octets);
  impl.guarded([&] {
    if (!impl.begun) {
      impl.begun = true;
      impl.layer.begin_message();
    }
    impl.layer.take(octets);
  });
}

void Parser::finish() { end(false); }

void Parser::cut_off() { end(true); }

void Parser::end(bool cut_off) {
  Impl& impl = *impl_;
  if (impl.finished) return;
  impl.finished = true;
  const contract::AnomalySet before = impl.shared.raised;
  if (!impl.out_of_memory) {
    impl.guarded([&] {
      if (!impl.begun) impl.layer.begin_message();
      impl.begun = true;
      impl.layer.finish();
    });
  }
  const contract::AnomalySet& raised = cut_off ? before : impl.shared.raised;
  for (std::size_t i = 0; i < contract::kAnomalyCount; ++i) {
    const auto anomaly = static_cast<contract::Anomaly>(i);
    if (raised.contains(anomaly)) impl.shared.sink.on_anomaly(anomaly);
  }
}

}  // namespace sluice::mime
