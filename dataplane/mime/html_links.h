// The places that HTML leads to: links, what may hold them, and documents inside attributes
// (srcdoc, data: URLs), which are HTML again, to a depth.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/mime/html.h"
#include "dataplane/mime/string_escapes.h"
#include "dataplane/mime/url.h"

namespace sluice::mime {

class HtmlLinks {
 public:
  static constexpr std::uint32_t kDocuments = 3;  // one in the other

  // `level`: documents around this one.
  HtmlLinks(UrlSink& sink, std::pmr::memory_resource* memory, std::uint32_t level = 0);
  ~HtmlLinks();
  HtmlLinks(const HtmlLinks&) = delete;
  HtmlLinks& operator=(const HtmlLinks&) = delete;

  // As HtmlSink gives them.
  void hidden(Bytes utf8);
  void link(std::string_view value);
  void attribute(std::string_view value);
  void document(Bytes utf8);
  void document_end();
  void end();

 private:
  class Document;
  bool data_url(std::string_view value);

  UrlSink& sink_;
  std::pmr::memory_resource* memory_;
  std::uint32_t level_;
  UrlFinder finder_;
  StringEscapes escapes_;  // of what is hidden
  Document* document_ = nullptr;
};

}  // namespace sluice::mime
