#include "dataplane/mime/member_names.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "dataplane/mime/little_endian.h"

namespace sluice::mime {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kBlock = 512;  // of tar
constexpr std::size_t kRar4Header = 7;
constexpr std::size_t kRar5Header = 7;  // check value and size, as far as a size can take
constexpr std::size_t kTnefHeader = 9;

// Octal digits among blanks, or, its first bit set, binary (GNU): 8 octets of it are enough.
std::optional<std::uint64_t> tar_number(Bytes field) {
  std::uint64_t value = 0;
  if ((field[0] & 0x80) != 0) {
    for (const std::uint8_t octet : field.last(8)) value = value << 8 | octet;
    return value;
  }
  std::size_t at = 0;
  while (at < field.size() && field[at] == ' ') ++at;
  bool any = false;
  for (; at < field.size() && field[at] >= '0' && field[at] <= '7'; ++at, any = true)
    value = value << 3 | (field[at] & 7u);
  if (!any) return std::nullopt;
  return value;
}

bool is_tar_header(Bytes block) {
  const auto told = tar_number(block.subspan(148, 8));
  if (!told) return false;
  std::uint64_t sum = 8 * ' ';
  std::int64_t of_signed = 8 * ' ';  // some old programs' sum
  for (std::size_t i = 0; i < kBlock; ++i) {
    if (i >= 148 && i < 156) continue;
    sum += block[i];
    of_signed += static_cast<std::int8_t>(block[i]);
  }
  return *told == sum || *told == static_cast<std::uint64_t>(of_signed);
}

std::uint64_t padded(std::uint64_t size) { return (size + kBlock - 1) / kBlock * kBlock; }

std::string_view until_nul(std::string_view text) { return text.substr(0, text.find('\0')); }

// RAR 5: seven bits an octet, the lowest first; the last has no highest bit.
std::optional<std::uint64_t> take_vint(Bytes& from) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < from.size() && i < 10; ++i) {
    value |= std::uint64_t{from[i] & 0x7fu} << 7 * i;
    if ((from[i] & 0x80) != 0) continue;
    from = from.subspan(i + 1);
    return value;
  }
  return std::nullopt;
}

// The last "path" of pax records, "LENGTH KEY=VALUE\n" each.
std::string_view pax_path(std::string_view records) {
  std::string_view path;
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [end, error] =
        std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(end - records.data());
    std::string_view record = records.substr(0, length);
    if (error != std::errc() || record.size() <= digits + 1) break;
    records.remove_prefix(record.size());
    record.remove_prefix(digits + 1);
    if (record.ends_with('\n')) record.remove_suffix(1);
    if (record.starts_with("path=")) path = record.substr(5);
  }
  return path;
}

}  // namespace

std::size_t MemberNames::take(Bytes octets) {
  const auto passed = static_cast<std::size_t>(std::min<std::uint64_t>(skipped_, octets.size()));
  skipped_ -= passed;
  octets = octets.subspan(passed);
  const std::size_t taken = std::min(octets.size(), wanted_ - held_size_);
  std::copy_n(octets.begin(), taken, held_.begin() + static_cast<std::ptrdiff_t>(held_size_));
  held_size_ += taken;
  return passed + taken;
}

bool MemberNames::tell() {
  if (held_size_ < wanted_) return true;
  switch (state_) {
    case State::start:
      start();
      break;
    case State::tar:
      tar();
      break;
    case State::tar_name:
      tar_name();
      break;
    case State::rar4:
      rar4();
      break;
    case State::rar5:
      rar5();
      break;
    case State::tnef:
      tnef();
      break;
    case State::tnef_title:
      tell_name(until_nul(text(kTnefHeader, wanted_ - kTnefHeader)));
      skip(behind_, State::tnef, kTnefHeader);
      break;
    case State::over:
      break;
  }
  return state_ != State::over;
}

void MemberNames::expect(std::size_t size) { wanted_ = size; }

void MemberNames::skip(std::uint64_t size, State next, std::size_t header) {
  if (state_ == State::over) return;  // what tell_name() met
  skipped_ = size;
  state_ = next;
  held_size_ = 0;
  wanted_ = header;
}

void MemberNames::tell_name(std::string_view name) {
  if (!name.empty() && !context_.tell_member_name(part_, depth_, name)) state_ = State::over;
}

std::string_view MemberNames::text(std::size_t at, std::size_t size) const {
  return as_text(Bytes(held_).subspan(at, size));
}

void MemberNames::start() {
  const std::string_view first = text(0, kSignature);
  if (first == "Rar!\x1a\7\1\0"sv) return skip(0, State::rar5, kRar5Header);
  if (first.starts_with("Rar!\x1a\7\0"sv)) {
    state_ = State::rar4;
    held_[0] = held_[kSignature - 1];  // that of the first block's header
    held_size_ = 1;
    return expect(kRar4Header);
  }
  if (first.starts_with("\x78\x9f\x3e\x22"sv)) {
    state_ = State::tnef;  // the key is two octets
    std::copy_n(held_.begin() + 6, kSignature - 6, held_.begin());
    held_size_ = kSignature - 6;
    return expect(kTnefHeader);
  }
  state_ = State::tar;
  expect(kBlock);
}

void MemberNames::tar() {
  const Bytes block = Bytes(held_).first(kBlock);
  // Archives end with blocks of zeros, and another may follow.
  if (std::ranges::all_of(block, [](std::uint8_t octet) { return octet == 0; }))
    return skip(0, State::tar, kBlock);
  const auto size = tar_number(block.subspan(124, 12));
  if (!is_tar_header(block) || !size || *size > UINT64_MAX - kBlock) {
    state_ = State::over;
    return;
  }
  const std::uint8_t type = block[156];
  if (type == 'L' || type == 'x') {
    pax_ = type == 'x';
    const std::size_t kept = std::min<std::uint64_t>(*size, kHeld);
    behind_ = padded(*size) - kept;
    if (kept == 0) return skip(behind_, State::tar, kBlock);
    state_ = State::tar_name;
    held_size_ = 0;
    return expect(kept);
  }
  // Directories and links have sizes that mean nothing; a label of a volume is no name.
  const bool file = type == '0' || type == 0 || type == '7' || type == 'S';
  if (file && long_name_size_ > 0) {
    tell_name({long_name_.data(), long_name_size_});
  } else if (file) {
    const std::string_view name = until_nul(text(0, 100));
    const std::string_view prefix = text(257, 6) == "ustar\0"sv ? until_nul(text(345, 155)) : "";
    std::array<char, 256> path;
    std::size_t length = prefix.copy(path.data(), prefix.size());
    if (length > 0) path[length++] = '/';
    length += name.copy(path.data() + length, name.size());
    tell_name({path.data(), length});
  }
  if (type != 'g') long_name_size_ = 0;
  const bool empty = type >= '1' && type <= '6';
  skip(empty ? 0 : padded(*size), State::tar, kBlock);
}

// The name of the next header's file, which is too long for that.
void MemberNames::tar_name() {
  const std::string_view held = text(0, wanted_);
  const std::string_view name = pax_ ? pax_path(held) : until_nul(held);
  // Its end says what it is.
  const std::string_view end = name.substr(name.size() - std::min(name.size(), long_name_.size()));
  if (!end.empty()) long_name_size_ = end.copy(long_name_.data(), end.size());
  skip(behind_, State::tar, kBlock);
}

void MemberNames::rar4() {
  constexpr std::uint8_t kMain = 0x73, kFile = 0x74, kEnd = 0x7b;
  constexpr std::uint16_t kHasData = 0x8000, kEncrypted = 0x80, kLargeFile = 0x100;
  const std::uint8_t type = held_[2];
  const std::uint16_t flags = le16(&held_[3]);
  const std::uint16_t size = le16(&held_[5]);
  const std::size_t kept = std::min<std::size_t>(size, kHeld);
  if (size < kRar4Header || type == kEnd || (type == kMain && (flags & kEncrypted) != 0)) {
    state_ = State::over;
    return;
  }
  if (wanted_ < kept) return expect(kept);
  const bool has_data = (flags & kHasData) != 0 || type == kFile;
  std::uint64_t data = has_data && kept >= 11 ? le32(&held_[7]) : 0;
  if (type == kFile && kept >= 32) {
    const bool large = (flags & kLargeFile) != 0 && kept >= 40;
    if (large) data |= std::uint64_t{le32(&held_[32])} << 32;
    const std::size_t at = large ? 40 : 32;
    // Behind a NUL it stands once more, in an encoding of its own.
    tell_name(until_nul(text(at, std::min<std::size_t>(le16(&held_[26]), kept - at))));
  }
  if (data > UINT64_MAX - size) data = UINT64_MAX - size;
  skip(size - kept + data, State::rar4, kRar4Header);
}

void MemberNames::rar5() {
  constexpr std::uint64_t kFile = 2, kEncryption = 4, kEnd = 5;
  constexpr std::uint64_t kHasExtra = 1, kHasData = 2;
  Bytes rest = Bytes(held_).subspan(4, kRar5Header - 4);
  const auto told = take_vint(rest);
  if (!told || *told > 0x1fffff) {
    state_ = State::over;
    return;
  }
  const std::uint64_t size = kRar5Header - rest.size() + *told;
  const std::size_t kept =
      std::min<std::uint64_t>(std::max<std::uint64_t>(size, kRar5Header), kHeld);
  if (wanted_ < kept) return expect(kept);
  rest = Bytes(held_).first(kept).subspan(kRar5Header - rest.size());
  const auto next = [&rest] { return take_vint(rest).value_or(0); };
  const std::uint64_t type = next();
  const std::uint64_t flags = next();
  if ((flags & kHasExtra) != 0) next();
  const std::uint64_t data = (flags & kHasData) != 0 ? next() : 0;
  if (type == kEncryption || type == kEnd || size < kRar5Header ||
      data > UINT64_MAX - (size - kept)) {
    state_ = State::over;
    return;
  }
  if (type == kFile) {
    const std::uint64_t file_flags = next();
    next();  // size
    next();  // attributes
    const std::size_t fixed = ((file_flags & 2) != 0 ? 4u : 0u) + ((file_flags & 4) != 0 ? 4u : 0u);
    rest = rest.subspan(std::min(fixed, rest.size()));  // time, check value
    next();                                             // method
    next();                                             // system
    const std::uint64_t length = next();
    tell_name(as_text(
        rest.first(static_cast<std::size_t>(std::min<std::uint64_t>(length, rest.size())))));
  }
  skip(size - kept + data, State::rar5, kRar5Header);
}

void MemberNames::tnef() {
  constexpr std::uint32_t kAttachTitle = 0x00018010;
  constexpr std::uint64_t kChecksum = 2;
  const std::uint32_t size = le32(&held_[5]);
  if (held_[0] != 1 && held_[0] != 2) {  // of the message, of an attachment
    state_ = State::over;
    return;
  }
  if (le32(&held_[1]) != kAttachTitle || size == 0)
    return skip(size + kChecksum, State::tnef, kTnefHeader);
  const std::size_t kept = std::min<std::size_t>(size, kHeld - kTnefHeader);
  behind_ = size - kept + kChecksum;
  state_ = State::tnef_title;
  expect(kTnefHeader + kept);
}

}  // namespace sluice::mime
