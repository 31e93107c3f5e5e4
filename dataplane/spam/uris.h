// The URLs of a message as `uri` rules see them (Mail::SpamAssassin::PerMsgStatus and Util): those
// in the text, those in HTML, each as written and in its canonical forms.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dataplane/scan/spam_rules.h"
#include "dataplane/spam/html_text.h"
#include "dataplane/spam/text.h"

namespace sluice::spam {

inline constexpr std::size_t kMaxUris = 500;       // different ones, as written
inline constexpr std::size_t kMaxUriForms = 2000;  // in all

// Domain names by the lists of the rule set (util_rb_tld and the like).
class Domains {
 public:
  explicit Domains(const scan::SpamRules& rules)
      : top_(rules.list("util_rb_tld")),
        two_(rules.list("util_rb_2tld")),
        three_(rules.list("util_rb_3tld")) {}
  // Lower-case names.
  bool valid(std::string_view domain) const;  // ends in a top-level domain that is known
  static bool valid_host(std::string_view host);
  std::string_view registered(std::string_view host) const;  // example.co.uk of www.example.co.uk
  // The host of a URL and its domain; false when it has none that is valid.
  bool of_uri(std::string_view uri, String& host, String& domain) const;
  bool known_top(std::string_view label) const;

 private:
  const scan::SpamList& top_;
  const scan::SpamList& two_;
  const scan::SpamList& three_;
};

struct Uri {
  explicit Uri(std::pmr::memory_resource* a) : raw(a), forms(a), hosts(a), domains(a) {}
  Uri(Uri&&) = default;
  String raw;
  Strings forms;
  Strings hosts;        // of the forms, lower case
  Strings domains;      // of the hosts
  bool parsed = false;  // from the text
  bool in_a = false;    // from an <a>
  bool in_html = false;
};

class UriList {
 public:
  UriList(const scan::SpamRules& rules, scan::RegexScratch& scratch,
          std::pmr::memory_resource* memory);

  // URLs in a paragraph of the rendered text.
  void add_text(std::string_view paragraph);
  void add_html(const HtmlFacts& facts);

  const std::pmr::vector<Uri>& uris() const { return uris_; }
  // All forms, each once.
  const Strings& forms() const { return forms_; }
  bool truncated() const { return truncated_; }
  const Domains& domains() const { return domains_; }

 private:
  void add_token(std::string_view paragraph, std::size_t begin, std::size_t end);
  bool has_top(std::string_view piece) const;
  void add_parsed(std::string_view raw, bool mail, bool schemeless);
  bool add(std::string_view uri, bool valid_domain, Uri** added);
  void canonicalize(std::string_view uri, Strings& forms);

  const scan::SpamRules& rules_;
  scan::RegexScratch& scratch_;
  std::pmr::memory_resource* memory_;
  Domains domains_;
  std::pmr::vector<Uri> uris_;
  Strings forms_;
  std::pmr::vector<std::size_t> form_hashes_;
  std::pmr::vector<std::size_t> seen_hashes_;
  bool truncated_ = false;
};

void prepare_uris();

}  // namespace sluice::spam
