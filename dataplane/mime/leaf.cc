#include "dataplane/mime/leaf.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "dataplane/base/pmr_ptr.h"
#include "dataplane/mime/charset.h"
#include "dataplane/mime/file_output.h"
#include "dataplane/mime/html.h"
#include "dataplane/mime/html_links.h"
#include "dataplane/mime/ignorable.h"
#include "dataplane/mime/keyed_hash.h"
#include "dataplane/mime/meta_charset.h"
#include "dataplane/mime/transfer.h"
#include "dataplane/mime/url.h"
#include "dataplane/mime/uu_filter.h"

namespace sluice::mime {
namespace {

// Reports each URL of a part once.
class UrlReporter final : public UrlSink {
 public:
  UrlReporter(Context& context, PartNumber part)
      : context_(context), part_(part), seen_(&context.memory) {}
  void on_found_url(std::string_view url, std::string_view host) override {
    const std::uint64_t hash = KeyedHash().add(url).add(host).value();
    const auto at = std::lower_bound(seen_.begin(), seen_.end(), hash);
    if (at != seen_.end() && *at == hash) return;
    if (context_.urls >= context_.limits.urls) return context_.raise(contract::Anomaly::url_limit);
    ++context_.urls;
    seen_.insert(at, hash);
    context_.sink.on_url(part_, url, host);
  }
  void on_url_anomaly(contract::Anomaly anomaly) override { context_.raise(anomaly); }

 private:
  Context& context_;
  PartNumber part_;
  std::pmr::vector<std::uint64_t> seen_;  // hashes, sorted
};

// Text in a charset to UTF-8, to what a reader sees, to its URLs.
class TextPath final : public OctetSink, private HtmlSink {
 public:
  struct Plan {
    PartNumber part = 0;
    std::string_view charset;
    bool html = false;
    bool sniffed = false;
    LineJoiner::Kind joined = LineJoiner::Kind::none;
    std::optional<DataKind> kind;  // how the text is given to the sink, if it is
    bool opposite = false;
  };
  TextPath(Context& context, const Plan& plan)
      : context_(context),
        part_(plan.part),
        kind_(plan.kind),
        opposite_(plan.opposite),
        urls_(context, plan.part),
        finder_(urls_, &context.memory) {
    if (plan.html)
      html_ =
          make_pmr<Html>(&context.memory, static_cast<HtmlSink&>(*this), urls_, &context.memory);
    else if (plan.joined != LineJoiner::Kind::none)
      joined_ = make_pmr<Joined>(&context.memory, *this, plan.joined);
    if (plan.sniffed)
      unknown_ = make_pmr<Unknown>(&context.memory, plan.charset, &context.memory);
    else
      decode_as(plan.charset);
  }
  TextPath(const TextPath&) = delete;
  TextPath& operator=(const TextPath&) = delete;

  void feed(Bytes decoded) {
    if (!charset_) {
      auto& first = unknown_->first;
      const std::size_t n = std::min(decoded.size(), kMetaOctets - first.size());
      first.insert(first.end(), decoded.begin(), decoded.begin() + static_cast<std::ptrdiff_t>(n));
      if (first.size() < kMetaOctets) return;
      sniff();
      decoded = decoded.subspan(n);
    }
    charset_->feed(decoded, *this);
  }

  void finish() {
    if (!charset_) sniff();
    charset_->finish(*this);
    if ((charset_->malformed() && !opposite_) || charset_->unknown())
      context_.raise(contract::Anomaly::charset);
    if (html_) html_->tokenizer.finish();
    if (joined_) joined_->joiner.finish(*joined_);
    finder_.end();
    if (html_) html_->links.end();
  }

 private:
  // What the charset will be found by.
  struct Unknown {
    Unknown(std::string_view charset, std::pmr::memory_resource* memory)
        : declared(charset, memory), first(memory) {}
    std::pmr::string declared;
    std::pmr::vector<std::uint8_t> first;
  };
  struct Html {
    Html(HtmlSink& sink, UrlSink& urls, std::pmr::memory_resource* memory)
        : tokenizer(sink, memory), links(urls, memory) {}
    HtmlTokenizer tokenizer;
    HtmlLinks links;
  };

  // Plain text of which a reader shows several lines as one.
  struct Joined final : OctetSink {
    Joined(TextPath& to, LineJoiner::Kind kind) : joiner(kind), path(to) {}
    void take(Bytes octets) override { path.on_plain_text(octets); }
    LineJoiner joiner;
    TextPath& path;
  };

  void decode_as(std::string_view charset) {
    charset_.emplace(charset, opposite_);
    if (charset_->unknown()) context_.raise(contract::Anomaly::charset);
  }
  // The first octets are all there, or all that there are.
  void sniff() {
    const std::string_view named = find_meta_charset(as_text(Bytes(unknown_->first)));
    decode_as(named.empty() ? std::string_view(unknown_->declared) : named);
    charset_->feed(unknown_->first, *this);
    unknown_.reset();
  }
  void take(Bytes utf8) override {
    // Looked for behind the charset: half of UTF-16's octets are zero.
    if (!opposite_ && !utf8.empty() && std::memchr(utf8.data(), 0, utf8.size()) != nullptr)
      context_.raise(contract::Anomaly::nul);
    if (html_) {
      html_->tokenizer.feed(utf8);
    } else if (joined_) {
      joined_->joiner.feed(utf8, *joined_);
    } else {
      on_plain_text(utf8);
    }
  }
  void on_plain_text(Bytes utf8) {
    if (kind_ && !charset_->saw_wide()) {
      context_.sink.on_part_data(part_, *kind_, utf8);
    } else if (kind_) {
      without_ignorable(utf8,
                        [this](Bytes seen) { context_.sink.on_part_data(part_, *kind_, seen); });
    }
    if (context_.limits.urls_wanted) finder_.feed(utf8);
  }
  void on_html_text(Bytes utf8) override {
    if (kind_) context_.sink.on_part_data(part_, *kind_, utf8);
    if (context_.limits.urls_wanted) finder_.feed(utf8);
  }
  void on_html_seen(Bytes utf8) override {
    if (kind_ == DataKind::text) context_.sink.on_part_data(part_, DataKind::alternative, utf8);
  }
  void on_html_hidden(Bytes utf8) override {
    if (context_.limits.urls_wanted) html_->links.hidden(utf8);
  }
  void on_html_boundary() override { finder_.end(); }
  void on_html_link(std::string_view value) override {
    if (context_.limits.urls_wanted) html_->links.link(value);
  }
  void on_html_attribute(std::string_view value) override {
    if (context_.limits.urls_wanted) html_->links.attribute(value);
  }
  void on_html_document(Bytes utf8) override {
    if (context_.limits.urls_wanted) html_->links.document(utf8);
  }
  void on_html_document_end() override { html_->links.document_end(); }

  Context& context_;
  PartNumber part_;
  std::optional<DataKind> kind_;
  bool opposite_;
  std::optional<CharsetDecoder> charset_;  // once it is known which
  PmrPtr<Unknown> unknown_;                // until then
  UrlReporter urls_;
  PmrPtr<Html> html_;
  PmrPtr<Joined> joined_;
  UrlFinder finder_;
};

contract::Anomaly anomaly_of(Encoding encoding) {
  return encoding == Encoding::quoted_printable ? contract::Anomaly::bad_quoted_printable
                                                : contract::Anomaly::bad_base64;
}

// Whether the text goes to the sink. Of an alternative part one stream does: its text where that is
// another than its octets.
bool text_is_given(const Context& context, const Leaf::Plan& plan) {
  if (!plan.text || !plan.report_text || !context.limits.text_wanted) return false;
  return !plan.alternative || plan.html || !CharsetDecoder(plan.charset).is_utf8();
}

FileOutput::Plan file_plan(const Context& context, const Leaf::Plan& plan) {
  FileOutput::Plan file;
  file.part = plan.number;
  file.depth = plan.depth;
  file.kind = plan.kind;
  if (plan.alternative) {
    file.kind.reset();
    if (!text_is_given(context, plan)) file.kind = DataKind::alternative;
  }
  file.hashed = plan.hashed;
  file.opened = plan.kind == DataKind::decoded;
  if (plan.nested != nullptr) {
    file.kind.reset();
    file.opened = false;
  }
  return file;
}

}  // namespace

// The stages from the transfer encoding on.
class Leaf::Path final : private UuFilterSink {
 public:
  Path(Context& context, const Plan& plan)
      : context_(context),
        nested_(plan.nested),
        number_(plan.number),
        depth_(plan.depth),
        alternative_(plan.alternative),
        decoder_(plan.encoding, &context.memory),
        file_(context, file_plan(context, plan)) {
    if (plan.text) {
      TextPath::Plan text;
      text.part = plan.number;
      text.charset = plan.charset;
      text.html = plan.html;
      text.sniffed = plan.sniffed && !plan.opposite;
      text.joined = plan.joined;
      text.opposite = plan.opposite;
      if (text_is_given(context, plan))
        text.kind = plan.alternative ? DataKind::alternative : DataKind::text;
      if (context.limits.text_wanted || context.limits.urls_wanted)
        text_ = make_pmr<TextPath>(&context.memory, context, text);
      if (plan.plain)
        filter_ =
            make_pmr<UuFilter>(&context.memory, static_cast<UuFilterSink&>(*this), &context.memory);
    }
  }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  void feed(Bytes encoded) {
    if (decoder_.encoding() == Encoding::identity) return decoded(encoded);
    std::uint8_t buffer[TransferDecoder::kOutput];
    while (!encoded.empty()) {
      const Bytes piece = decoder_.piece(encoded);
      encoded = encoded.subspan(piece.size());
      decoded({buffer, decoder_.decode(piece, buffer)});
      tell_file_name();
    }
  }

  void finish(PartEnd& end) {
    std::uint8_t buffer[TransferDecoder::kOutput];
    decoded({buffer, decoder_.finish(buffer)});
    tell_file_name();
    if (decoder_.malformed()) context_.raise(anomaly_of(decoder_.encoding()));
    if (filter_) filter_->finish();
    if (text_) text_->finish();
    file_.finish(end);
  }

 private:
  // Some readers save the file by the name of its begin line: told as a member of no octets.
  void tell_file_name() {
    const std::string_view name = decoder_.take_file_name();
    if (!name.empty()) context_.tell_member_name(number_, depth_, name);
  }
  void decoded(Bytes octets) {
    if (octets.empty()) return;
    if (nested_ != nullptr) {
      file_.feed(octets);
      nested_->take(octets);
    } else if (filter_) {
      filter_->feed(octets);
    } else {
      on_uu_text(octets);
    }
  }

  void on_uu_text(Bytes text) override {
    file_.feed(text);
    if (text_) text_->feed(text);
  }

  void on_uu_begin(std::string_view name) override {
    uu_file_.reset();
    if (!context_.may_begin_part()) return;
    Part part;
    part.number = context_.begin_part();
    part.parent = number_;
    part.depth = depth_ + 1;
    part.type = "application";
    part.subtype = "octet-stream";
    part.transfer_encoding = "x-uuencode";
    part.name = name;
    part.attachment = true;
    part.alternative = alternative_;
    context_.sink.on_part_begin(part);
    FileOutput::Plan file;
    file.part = part.number;
    file.depth = part.depth;
    file.kind = alternative_ ? DataKind::alternative : DataKind::decoded;
    file.hashed = true;
    file.opened = true;
    uu_file_ = make_pmr<FileOutput>(&context_.memory, context_, file);
  }
  void on_uu_data(Bytes octets) override {
    if (uu_file_ && context_.spend_expanded(octets.size())) uu_file_->feed(octets);
  }
  void on_uu_end() override {
    if (!uu_file_) return;
    PartEnd end;
    uu_file_->finish(end);
    context_.sink.on_part_end(end);
    uu_file_.reset();
  }

  Context& context_;
  OctetSink* nested_;
  PartNumber number_;
  std::uint32_t depth_;
  bool alternative_;
  TransferDecoder decoder_;
  FileOutput file_;
  PmrPtr<TextPath> text_;
  PmrPtr<UuFilter> filter_;
  PmrPtr<FileOutput> uu_file_;
};

Leaf::Leaf(Context& context, const Plan& plan)
    : context_(context),
      number_(plan.number),
      nested_(plan.nested != nullptr),
      path_(std::pmr::polymorphic_allocator<>(&context.memory).new_object<Path>(context, plan)) {}

Leaf::~Leaf() { std::pmr::polymorphic_allocator<>(&context_.memory).delete_object(path_); }

void Leaf::feed(Bytes encoded) {
  if (nested_) return path_->feed(encoded);  // counted where it ends up
  // To the limit exactly, whatever the cuts; beyond it the octets go on as they are.
  const std::uint64_t left = context_.limits.decoded_octets - context_.decoded;
  const Bytes within =
      encoded.first(static_cast<std::size_t>(std::min<std::uint64_t>(left, encoded.size())));
  context_.decoded += within.size();
  if (!within.empty()) path_->feed(within);
  encoded = encoded.subspan(within.size());
  if (encoded.empty()) return;
  context_.raise(contract::Anomaly::limit);
  context_.sink.on_part_data(number_, DataKind::alternative, encoded);
}

void Leaf::finish(PartEnd& end) { path_->finish(end); }

}  // namespace sluice::mime
