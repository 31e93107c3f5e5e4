// The lines of a layer: which belong to headers, which are delimiters, which are body octets.
#include "dataplane/mime/layer.h"

#include <algorithm>

#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

// Octets of a line that decide whether it is a delimiter.
constexpr std::size_t kCandidate = kMaxBoundary + 64;
// Octets held of a header line that a cut divided.
constexpr std::size_t kHeaderLine = 4096;
static_assert(kHeaderLine >= kCandidate && kHeaderLine >= HeaderBlock::kNameOctets);

const std::uint8_t* find_line_feed(const std::uint8_t* p, std::size_t size) {
  return static_cast<const std::uint8_t*>(std::memchr(p, '\n', size));
}

// The next dash in [p, end), or `end`; of those that follow one another only the first is looked
// at.
const std::uint8_t* find_dash(const std::uint8_t* p, const std::uint8_t* end) {
  const void* const dash =
      p < end ? std::memchr(p, '-', static_cast<std::size_t>(end - p)) : nullptr;
  return dash != nullptr ? static_cast<const std::uint8_t*>(dash) : end;
}
const std::uint8_t* next_dash(const std::uint8_t* dash, const std::uint8_t* end) {
  do {
    ++dash;
  } while (dash < end && *dash == '-');
  return find_dash(dash, end);
}

// The first dash that follows a CR, or nullptr.
const std::uint8_t* find_cr_dash(Bytes octets) {
  const std::uint8_t* const end = octets.data() + octets.size();
  for (const std::uint8_t* p = find_dash(octets.data(), end); p < end; p = next_dash(p, end))
    if (p > octets.data() && p[-1] == '\r') return p;
  return nullptr;
}

std::size_t line_end_size(Bytes line) {
  if (line.empty() || line.back() != '\n') return 0;
  return line.size() > 1 && line[line.size() - 2] == '\r' ? 2 : 1;
}

std::string_view without_line_end(Bytes line) {
  return as_text(line.first(line.size() - line_end_size(line)));
}

// Whether a CR stands in the line, but for those at its end.
bool has_bare_cr(std::string_view content) {
  while (content.ends_with('\r')) content.remove_suffix(1);
  return content.find('\r') != std::string_view::npos;
}

}  // namespace

void Layer::take(Bytes octets) {
  while (!octets.empty() && !stack_.empty()) {
    const bool in_header = stack_.back().mode == Mode::header;
    octets = octets.subspan(in_header ? header(octets) : body(octets));
  }
}

// Takes lines of a header; returns at its end.
std::size_t Layer::header(Bytes in) {
  std::size_t used = 0;
  while (used < in.size() && stack_.back().mode == Mode::header) {
    const Bytes rest = in.subspan(used);
    const std::uint8_t* const lf = find_line_feed(rest.data(), rest.size());
    const std::size_t size =
        lf != nullptr ? static_cast<std::size_t>(lf - rest.data()) + 1 : rest.size();
    if (long_line_) {
      used += rest_of_line(rest.first(size));
      continue;
    }
    if (line_.empty() && ((lf != nullptr && size <= kHeaderLine) || size >= kHeaderLine)) {
      const bool whole = lf != nullptr && size <= kHeaderLine;
      const Bytes line = rest.first(whole ? size : kHeaderLine);
      if (!header_line(line, whole)) return used;
      used += line.size();
      continue;
    }
    const std::size_t taken = std::min(size, kHeaderLine - line_.size());
    line_.append(as_text(rest.first(taken)));
    used += taken;
    const bool whole = line_.back() == '\n';
    if (!whole && line_.size() < kHeaderLine) continue;
    const std::pmr::string line = std::move(line_);
    line_ = std::pmr::string(&context_.memory);
    // The body begins with the line itself; it holds no delimiter, so that this goes one deep.
    if (!header_line(as_bytes(line), whole)) take(as_bytes(line));
  }
  return used;
}

// More of a header line that is longer than what decides about it; returns the octets used.
std::size_t Layer::rest_of_line(Bytes in) {
  std::size_t size = in.size();
  if (!bare_cr_ && !alternative_) {
    // A CR in it is one that ends a line to some once it is known that no LF follows.
    const std::size_t cr = as_text(in).find('\r');
    if (line_crs_ > 0 && cr != 0 && in[0] != '\n') {
      branch_bare_cr(line_crs_);
      line_crs_ = 0;
    } else if (cr == 0) {
      line_crs_ = static_cast<std::uint8_t>(std::min(2, line_crs_ + 1));
      size = 1;
    } else if (cr != std::string_view::npos) {
      size = cr;
    }
  }
  const Bytes piece = in.first(size);
  header_->raw(piece);
  header_->take_rest(as_text(piece));
  commit(piece);
  if (piece.back() == '\n') long_line_ = false;
  return size;
}

// A line of a header; false when the body began before it.
bool Layer::header_line(Bytes line, bool whole) {
  const std::string_view content = without_line_end(line);
  if (has_bare_cr(content)) {
    context_.raise(contract::Anomaly::bare_cr);
    branch_bare_cr();
  }
  line_crs_ = whole ? 0 : static_cast<std::uint8_t>(content.ends_with('\r'));
  if (multiparts_ > 0 && content.starts_with("--")) {
    const Match m = match(content.substr(0, kCandidate), whole && content.size() <= kCandidate);
    if (m.kind == Match::Kind::delimiter || m.kind == Match::Kind::close) {
      act(m, {}, line);
      return true;
    }
  }
  const auto take_it = [&] {
    header_->raw(line);
    commit(line);
    long_line_ = !whole;
  };
  switch (header_->classify(content)) {
    case HeaderBlock::Line::taken:
      header_->take(content);
      take_it();
      return true;
    case HeaderBlock::Line::all_white:
      header_->take(content);
      take_it();
      branch_body_begins();
      return true;
    case HeaderBlock::Line::junk:
      if (skip_junk_) {
        header_->take_behind_junk(content);
        take_it();
        return true;
      }
      context_.raise(contract::Anomaly::bad_header);
      branch_header_goes_on();
      header_->finish();
      begin_body({});
      return false;
    case HeaderBlock::Line::blank:
      if (skip_blank_ && header_->empty()) {
        take_it();
        return true;
      }
      take_it();
      if (header_->empty() && stack_.size() == 1 && depth_ == 0) branch_blank_lines();
      header_->finish();
      begin_body({});
      return true;
  }
  return true;
}

// The delimiter that `line` (its first octets, without line end) is; `whole`: nothing was cut off.
Layer::Match Layer::match(std::string_view line, bool whole) const {
  const std::string_view text = line.substr(2);
  Match look_alike;
  for (std::size_t i = stack_.size(); i-- > 0;) {
    const Entity& e = stack_[i];
    if (e.mode != Mode::multipart) continue;
    if (e.boundary.empty()) {
      // No boundary was declared: the first line that can be a delimiter makes one, as some do.
      const std::string_view word = trim(text);
      if (whole && e.empty_boundary && (word.empty() || (e.delimited && word == "--")))
        return {i, word.empty() ? Match::Kind::delimiter : Match::Kind::close};
      if (whole && !word.empty() && word.size() <= 70 && word.find_first_of(" \t") == word.npos)
        return {i, Match::Kind::delimiter};
      continue;
    }
    if (!text.starts_with(e.boundary)) continue;
    std::string_view rest = text.substr(e.boundary.size());
    if (e.begins_with || e.boundary.size() == kMaxBoundary) {
      return {i, rest.starts_with("--") ? Match::Kind::close : Match::Kind::delimiter};
    }
    const bool closes = rest.starts_with("--");
    if (closes) rest.remove_prefix(2);
    if (whole && trim(rest).empty())
      return {i, closes ? Match::Kind::close : Match::Kind::delimiter};
    if (look_alike.kind == Match::Kind::none) look_alike = {i, Match::Kind::look_alike};
    while (!rest.empty() && is_wsp(rest.front())) rest.remove_prefix(1);
    if (rest.starts_with('\r')) look_alike.bare_cr = true;
  }
  return look_alike;
}

// Does what a delimiter line says. `line_end` stood before it and is its own.
void Layer::act(const Match& m, Bytes line_end, Bytes line) {
  if (files_ > 0 && line_end.empty()) {
    for (std::size_t i = m.entity + 1; i < stack_.size(); ++i)
      if (stack_[i].file != nullptr) stack_[i].file->drop_line_end();
  }
  ++delimiters_;
  while (stack_.size() - 1 > m.entity) pop();
  Entity& e = stack_[m.entity];
  if (e.boundary.empty()) e.boundary.assign(trim(as_text(line).substr(2)));
  end_filler(e);
  commit(line_end);
  commit(line);
  line_start_ = true;
  e.delimited = true;
  if (m.kind == Match::Kind::close) {
    e.closed = true;
    return;
  }
  // Parts after the end: some readers show them.
  if (e.closed) context_.raise(contract::Anomaly::bad_boundary);
  e.closed = false;
  begin_entity(e.number, e.depth + 1, e.digest);
}

void Layer::AttachedMessage::feed(Bytes octets) {
  if (octets.empty()) return;
  if (held_ == 1 && line_end_[0] == '\r' && octets[0] == '\n') {
    line_end_[held_++] = '\n';
    octets = octets.subspan(1);
    if (octets.empty()) return;
  }
  output_.feed({line_end_, held_});
  std::size_t held = line_end_size(octets);
  if (held == 0 && octets.back() == '\r') held = 1;
  output_.feed(octets.first(octets.size() - held));
  std::copy_n(octets.data() + octets.size() - held, held, line_end_);
  held_ = static_cast<std::uint8_t>(held);
}

void Layer::AttachedMessage::finish(PartEnd& end) {
  output_.feed({line_end_, held_});
  output_.finish(end);
}

// Octets that the other readings, and attached messages as files, have to see too.
void Layer::commit(Bytes octets) {
  if ((branches_.empty() && files_ == 0) || octets.empty()) return;
  if (files_ > 0) {
    for (Entity& e : stack_)
      if (e.file != nullptr) e.file->feed(octets);
  }
  for (const Branch& b : branches_) {
    if (b.bare_cr != nullptr) {
      b.bare_cr->feed(octets, [&](Bytes piece) { b.layer->take(piece); });
      continue;
    }
    if (b.decoder == nullptr) {
      b.layer->take(octets);
      continue;
    }
    std::uint8_t buffer[TransferDecoder::kOutput];
    for (Bytes left = octets; !left.empty();) {
      const Bytes piece = b.decoder->piece(left);
      left = left.subspan(piece.size());
      b.layer->take({buffer, b.decoder->decode(piece, buffer)});
    }
  }
}

// Octets of the body of what is on top.
void Layer::run(Bytes octets) {
  if (octets.empty()) return;
  Entity& top = stack_.back();
  if (top.mode == Mode::leaf) {
    top.leaf->feed(octets);
  } else {
    filler(top).feed(octets);
  }
  commit(octets);
}

void Layer::release_line_end() {
  const std::size_t size = line_end_size_;
  line_end_size_ = 0;
  run({line_end_, size});
}

// Body octets without delimiters. One may begin behind a CR, to those to whom that ends a line: the
// reading parts before the first that a dash follows (`cr_dash`; nullptr: there is none).
void Layer::run_lines(Bytes octets, const std::uint8_t* cr_dash) {
  if (cr_dash != nullptr && !bare_cr_ && !alternative_) {
    const auto before = static_cast<std::size_t>(cr_dash - octets.data()) - 1;
    run_and_hold(octets.first(before));
    release_line_end();
    branch_bare_cr();
    octets = octets.subspan(before);
  }
  run_and_hold(octets);
}

// Body octets, of which a line end at their end is held.
void Layer::run_and_hold(Bytes octets) {
  if (octets.empty()) return;
  release_line_end();
  std::size_t held = line_end_size(octets);
  if (held == 0 && octets.back() == '\r') held = 1;
  run(octets.first(octets.size() - held));
  std::copy_n(octets.data() + octets.size() - held, held, line_end_);
  line_end_size_ = static_cast<std::uint8_t>(held);
}

// Decides about the held candidate for a delimiter.
void Layer::decide_candidate(bool whole) {
  const std::pmr::string line = std::move(candidate_);
  candidate_ = std::pmr::string(&context_.memory);
  const std::string_view content =
      whole ? without_line_end(as_bytes(line)) : std::string_view(line);
  const Match m = content.size() >= 2 ? match(content, whole) : Match{};
  if (m.kind == Match::Kind::delimiter || m.kind == Match::Kind::close) {
    std::uint8_t end[2] = {line_end_[0], line_end_[1]};
    const std::size_t size = line_end_size_;
    line_end_size_ = 0;
    act(m, {end, size}, as_bytes(line));
    return;
  }
  release_line_end();
  if (m.bare_cr) branch_bare_cr();
  if (m.kind == Match::Kind::look_alike) branch_begins_with(m.entity);
  run_lines(as_bytes(line), find_cr_dash(as_bytes(line)));
  line_start_ = line_end_size(as_bytes(line)) > 0;
}

// Goes on from what the last call held; returns the octets used.
std::size_t Layer::held_line(Bytes in) {
  if (!candidate_.empty()) {
    if (candidate_.size() == 1 && in[0] != '-') {
      decide_candidate(false);
      return 0;
    }
    const std::size_t room = std::min(in.size(), kCandidate - candidate_.size());
    const std::uint8_t* const lf = find_line_feed(in.data(), room);
    const std::size_t taken = lf != nullptr ? static_cast<std::size_t>(lf - in.data()) + 1 : room;
    candidate_.append(as_text(in.first(taken)));
    if (lf != nullptr || candidate_.size() == kCandidate) decide_candidate(lf != nullptr);
    return taken;
  }
  if (line_end_[line_end_size_ - 1] == '\r') {
    if (in[0] == '\n') {
      line_end_[line_end_size_++] = '\n';
      line_start_ = true;
      return 1;
    }
    if (in[0] == '-') branch_bare_cr();
    release_line_end();
    return 0;
  }
  if (in[0] != '-') release_line_end();
  return 0;
}

// Takes octets of a body; returns at a delimiter, or at the end of `in`.
std::size_t Layer::body(Bytes in) {
  if (multiparts_ == 0 || remainder_) {
    if (line_end_size_ > 0) release_line_end();
    run(in);
    return in.size();
  }
  if (!candidate_.empty() ||
      (line_end_size_ > 0 && (line_end_[line_end_size_ - 1] == '\r' || in[0] != '-'))) {
    if (const std::size_t used = held_line(in); used > 0) return used;
  }
  // Only a line that begins with dashes may be a delimiter. They are rarer than lines: base64 has
  // none.
  const std::uint8_t* const begin = in.data();
  const std::uint8_t* const end = begin + in.size();
  const std::uint8_t* from = begin;
  const std::uint8_t* cr_dash = nullptr;  // the first behind `from` that follows a CR
  for (const std::uint8_t* p = find_dash(begin, end); p < end; p = next_dash(p, end)) {
    const auto left = static_cast<std::size_t>(end - p);
    if (p == begin ? !line_start_ : p[-1] != '\n') {
      if (cr_dash == nullptr && p > from && p[-1] == '\r') cr_dash = p;
      continue;
    }
    if (left > 1 && p[1] != '-') continue;
    line_start_ = true;
    const std::uint8_t* const lf = find_line_feed(p, std::min(left, kCandidate));
    if (lf == nullptr && left < kCandidate) {
      run_lines({from, p}, cr_dash);
      candidate_.assign(as_text({p, end}));
      return in.size();
    }
    const Bytes line{p, lf != nullptr ? lf + 1 : p + kCandidate};
    const Match m = match(lf != nullptr ? without_line_end(line) : as_text(line), lf != nullptr);
    if (m.kind == Match::Kind::delimiter || m.kind == Match::Kind::close) {
      run_lines({from, p}, cr_dash);
      const std::uint8_t line_end[2] = {line_end_[0], line_end_[1]};
      const std::size_t size = line_end_size_;
      line_end_size_ = 0;
      act(m, {line_end, size}, line);
      return static_cast<std::size_t>(line.data() + line.size() - in.data());
    }
    if (m.kind == Match::Kind::look_alike) {
      run_lines({from, p}, cr_dash);
      release_line_end();
      if (m.bare_cr) branch_bare_cr();
      branch_begins_with(m.entity);
      from = p;
      cr_dash = nullptr;
    }
  }
  line_start_ = end[-1] == '\n';
  run_lines({from, end}, cr_dash);
  return in.size();
}

void Layer::finish() {
  if (!line_.empty()) {
    const std::pmr::string line = std::move(line_);
    line_ = std::pmr::string(&context_.memory);
    if (!stack_.empty() && !header_line(as_bytes(line), true)) take(as_bytes(line));
  }
  if (!candidate_.empty()) decide_candidate(true);
  if (line_end_size_ > 0) release_line_end();
  while (!stack_.empty()) pop();
}

}  // namespace sluice::mime
