#include "dataplane/mime/html_links.h"

#include <string>

#include "dataplane/mime/text.h"
#include "dataplane/mime/transfer.h"

namespace sluice::mime {

// A document inside an attribute: only its URLs count.
class HtmlLinks::Document final : private HtmlSink {
 public:
  Document(UrlSink& sink, std::pmr::memory_resource* memory, std::uint32_t level)
      : links_(sink, memory, level),
        text_(sink, memory),
        html_(static_cast<HtmlSink&>(*this), memory) {}

  void feed(Bytes utf8) { html_.feed(utf8); }
  void finish() {
    html_.finish();
    text_.end();
    links_.end();
  }

 private:
  void on_html_text(Bytes utf8) override { text_.feed(utf8); }
  void on_html_hidden(Bytes utf8) override { links_.hidden(utf8); }
  void on_html_boundary() override { text_.end(); }
  void on_html_link(std::string_view value) override { links_.link(value); }
  void on_html_attribute(std::string_view value) override { links_.attribute(value); }
  void on_html_document(Bytes utf8) override { links_.document(utf8); }
  void on_html_document_end() override { links_.document_end(); }

  HtmlLinks links_;
  UrlFinder text_;
  HtmlTokenizer html_;
};

HtmlLinks::HtmlLinks(UrlSink& sink, std::pmr::memory_resource* memory, std::uint32_t level)
    : sink_(sink), memory_(memory), level_(level), finder_(sink, memory) {}

HtmlLinks::~HtmlLinks() {
  if (document_ != nullptr) std::pmr::polymorphic_allocator<>(memory_).delete_object(document_);
}

void HtmlLinks::link(std::string_view value) {
  if (!data_url(value)) finder_.link(value);
}

void HtmlLinks::hidden(Bytes utf8) {
  escapes_.feed(utf8, [this](Bytes text) { finder_.feed(text); });
}

void HtmlLinks::attribute(std::string_view value) {
  const auto find = [this](Bytes text) { finder_.feed(text); };
  finder_.end();
  StringEscapes escapes;
  escapes.feed(as_bytes(value), find);
  escapes.finish(find);
  finder_.end();
}

void HtmlLinks::document(Bytes utf8) {
  if (level_ >= kDocuments) return sink_.on_url_anomaly(contract::Anomaly::limit);
  if (document_ == nullptr)
    document_ =
        std::pmr::polymorphic_allocator<>(memory_).new_object<Document>(sink_, memory_, level_ + 1);
  document_->feed(utf8);
}

void HtmlLinks::document_end() {
  if (document_ == nullptr) return;
  document_->finish();
  std::pmr::polymorphic_allocator<>(memory_).delete_object(document_);
  document_ = nullptr;
}

void HtmlLinks::end() {
  document_end();
  escapes_.finish([this](Bytes text) { finder_.feed(text); });
  finder_.end();
}

// "data:text/html;base64,..." (RFC 2397): the document that it is. False when it is no data: URL,
// or one of something that holds no links.
bool HtmlLinks::data_url(std::string_view value) {
  value = trim(value);
  if (!starts_with_ignoring_case(value, "data:")) return false;
  const std::size_t comma = value.find(',');
  if (comma == std::string_view::npos) return false;
  const std::string_view head = trim(value.substr(5, comma - 5));
  const std::string_view type = first_token(head);
  if (starts_with_ignoring_case(type, "image/") && !starts_with_ignoring_case(type, "image/svg"))
    return true;
  std::pmr::string text(memory_);
  undo_percent(value.substr(comma + 1), text);
  if (ends_with_ignoring_case(head, ";base64")) {
    Base64Decoder decoder;
    std::pmr::string octets(text.size() + Base64Decoder::kSlack, '\0', memory_);
    auto* const out = reinterpret_cast<std::uint8_t*>(octets.data());
    std::size_t size = decoder.decode(as_bytes(text), out);
    size += decoder.finish(out + size);
    octets.resize(size);
    text.swap(octets);
  }
  document(as_bytes(text));
  document_end();
  return true;
}

}  // namespace sluice::mime
