#include "dataplane/mime/archive.h"

#include <zlib.h>

#include <algorithm>
#include <utility>

#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/keyed_hash.h"
#include "dataplane/mime/little_endian.h"

namespace sluice::mime {
namespace {

constexpr std::uint32_t kLocal = 0x504b0304;    // "PK\3\4", as it is read
constexpr std::uint32_t kCentral = 0x504b0102;  // "PK\1\2"
constexpr std::size_t kLocalSize = 26;          // after the signature
constexpr std::size_t kCentralSize = 42;

// zlib's memory from ours; the size stands before what it gets.
constexpr std::size_t kPrefix = alignof(std::max_align_t);
voidpf allocate(voidpf opaque, uInt count, uInt size) {
  auto* const memory = static_cast<std::pmr::memory_resource*>(opaque);
  const std::size_t octets = std::size_t{count} * size + kPrefix;
  try {
    auto* const p = static_cast<std::uint8_t*>(memory->allocate(octets, kPrefix));
    std::memcpy(p, &octets, sizeof octets);
    return p + kPrefix;
  } catch (const std::bad_alloc&) {
    return nullptr;  // through C: zlib says Z_MEM_ERROR
  }
}
void release(voidpf opaque, voidpf address) {
  auto* const p = static_cast<std::uint8_t*>(address) - kPrefix;
  std::size_t octets;
  std::memcpy(&octets, p, sizeof octets);
  static_cast<std::pmr::memory_resource*>(opaque)->deallocate(p, octets, kPrefix);
}

std::uint32_t hash_of_name(std::string_view name) {
  return static_cast<std::uint32_t>(KeyedHash().add(name).value());
}

// Where a zip file's signature may go on from `at`, `matched` octets of it having been seen: behind
// "PK\3", or at the end of `text`.
std::size_t first_match(std::string_view text, std::size_t at, std::uint8_t& matched) {
  const char* const end = text.data() + text.size();
  for (const char* p = text.data() + at; (p = find_pair<'P', 'K'>(p, end)) != end; p += 2) {
    matched = 2;
    if (end - p == 2) return text.size();
    if (p[2] != '\3') continue;
    matched = 3;
    return static_cast<std::size_t>(p + 3 - text.data());
  }
  matched = text.back() == 'P' ? 1 : 0;
  return text.size();
}

}  // namespace

Archive::Archive(Context& context, PartNumber part, std::uint32_t depth, std::uint32_t level)
    : context_(context),
      part_(part),
      depth_(depth),
      level_(level),
      names_(&context.memory),
      other_names_(&context.memory) {}

Archive::~Archive() {
  std::pmr::polymorphic_allocator<> allocator(&context_.memory);
  if (stream_ != nullptr) {
    inflateEnd(stream_);
    allocator.delete_object(stream_);
  }
  if (gzip_header_ != nullptr) allocator.delete_object(gzip_header_);
  if (inner_ != nullptr) allocator.delete_object(inner_);
}

// A bound was reached: nothing more of this archive is read.
void Archive::stop() {
  context_.raise(contract::Anomaly::limit);
  end_member();
  state_ = State::ignore;
}

// A member expands further than what was sent allows: what stands behind it is still read. Where it
// ends the next signature tells, not its header, which may lie.
void Archive::pass_over() {
  if (gzip_) return stop();
  context_.raise(contract::Anomaly::limit);
  end_member();
  window_ = 0;
  state_ = State::seek;
}

bool Archive::begin_inflate(int window_bits) {
  std::pmr::polymorphic_allocator<> allocator(&context_.memory);
  if (stream_ == nullptr) {
    stream_ = allocator.new_object<z_stream_s>();
    stream_->zalloc = allocate;
    stream_->zfree = release;
    stream_->opaque = static_cast<std::pmr::memory_resource*>(&context_.memory);
    if (inflateInit2(stream_, window_bits) != Z_OK) {
      allocator.delete_object(stream_);
      stream_ = nullptr;
      return false;
    }
  } else if (inflateReset2(stream_, window_bits) != Z_OK) {
    return false;
  }
  // Readers show what a wrong check value stands behind, and checking costs a sixth of inflating.
  return inflateValidate(stream_, 0) == Z_OK;
}

// The name stands in the header, which zlib reads in front of the first octet of the data.
void Archive::begin_gzip_header() {
  end_member();
  if (gzip_header_ == nullptr)
    gzip_header_ = std::pmr::polymorphic_allocator<>(&context_.memory).new_object<gz_header_s>();
  *gzip_header_ = {};
  gzip_header_->name = reinterpret_cast<Bytef*>(name_.data());
  gzip_header_->name_max = static_cast<uInt>(name_.size());
  name_[0] = 0;
  inflateGetHeader(stream_, gzip_header_);
}

void Archive::begin_gzip_member() {
  const bool named = gzip_header_->name != nullptr;
  const auto end = std::find(name_.begin(), name_.end(), '\0');
  begin_member(named ? std::string_view(name_.begin(), end) : std::string_view());
}

void Archive::begin_member(std::string_view name) {
  end_member();
  if (!context_.may_begin_member()) return stop();
  member_ = context_.begin_member(part_, depth_, name);
  context_.inflated_at(level_) += context_.limits.archive_member;
  in_member_ = true;
  member_octets_ = 0;
  member_type_ = TypeDetector();
}

// Octets that may still be inflated at this depth.
std::uint64_t Archive::left() const {
  return context_.inflatable - std::min(context_.inflated_at(level_), context_.inflatable);
}

void Archive::member_data(Bytes octets) {
  if (octets.empty() || !in_member_) return;
  const bool last = octets.size() > left();
  if (last) octets = octets.first(static_cast<std::size_t>(left()));
  context_.inflated_at(level_) += octets.size();
  if (!octets.empty()) {
    if (inner_ == nullptr)
      inner_ = std::pmr::polymorphic_allocator<>(&context_.memory)
                   .new_object<ArchiveSearch>(context_, level_ + 1);
    member_octets_ += octets.size();
    member_type_.feed(octets);
    context_.sink.on_part_data(member_, DataKind::alternative, octets);
    inner_->feed(member_, depth_ + 1, octets, true);
  }
  if (last) pass_over();
}

void Archive::end_member() {
  if (!in_member_) return;
  in_member_ = false;
  if (inner_ != nullptr) inner_->finish();
  PartEnd end;
  end.number = member_;
  end.octets = member_octets_;
  end.detected_type = member_type_.type();
  context_.sink.on_part_end(end);
}

// Gathers a header of `size` octets; the octets used.
std::size_t Archive::collect(Bytes in, std::size_t size) {
  const std::size_t taken = std::min(in.size(), size - collected_);
  std::copy_n(in.data(), taken, header_.data() + collected_);
  collected_ += taken;
  return taken;
}

void Archive::read_local() {
  method_ = le16(&header_[4]);
  compressed_ = le32(&header_[14]);
  expanded_ = le32(&header_[18]);
  remaining_ = le16(&header_[22]);
  begin_names(le16(&header_[24]));
  state_ = remaining_ > 0 ? State::name : State::extra;
}

// Entries that share octets list more of them than the archive holds.
void Archive::read_central() {
  listed_ += le32(&header_[16]);
  if (listed_ > directory_) context_.raise(contract::Anomaly::limit);
  remaining_ = le16(&header_[24]);
  begin_names(le16(&header_[26]));
  state_ = remaining_ > 0 ? State::central_name : State::central_extra;
  if (remaining_ + extra_ == 0) end_central();
}

// A header's name and `extra` octets of extra fields follow.
void Archive::begin_names(std::uint16_t extra) {
  extra_ = extra;
  name_size_ = 0;
  other_size_ = 0;
  field_at_ = 0;
}

// Programs show the directory's names. One that no local header has is a member's too.
void Archive::end_central() {
  const std::size_t at = central_++;
  const std::uint32_t hash = hash_of_name({name_.data(), name_size_});
  const bool known = (at < names_.size() && names_[at] == hash) ||
                     std::find(names_.begin(), names_.end(), hash) != names_.end();
  if (!known && name_size_ > 0 && names_.size() < kMostNames &&
      !tell_name({name_.data(), name_size_}))
    return;
  if (!tell_other_name()) return;
  window_ = 0;
  state_ = State::seek;
}

// A member of that name and no octets; false: no more may be told.
bool Archive::tell_name(std::string_view name) {
  begin_member(name);
  if (state_ == State::ignore) return false;
  end_member();
  return true;
}

// The name of the header's Unicode path field, which some programs show in place of its own. Once:
// the directory repeats it.
bool Archive::tell_other_name() {
  const std::string_view other(other_name_.data(), std::exchange(other_size_, 0));
  if (other.empty() || other == std::string_view(name_.data(), name_size_)) return true;
  const std::uint32_t hash = hash_of_name(other);
  if (other_names_.size() >= kMostNames ||
      std::find(other_names_.begin(), other_names_.end(), hash) != other_names_.end())
    return true;
  other_names_.push_back(hash);
  return tell_name(other);
}

// Extra fields (APPNOTE 4.5): id, size, data; of the Unicode path field (4.6.9) a version and a
// check value of the header's name stand before the name.
std::size_t Archive::take_extra(Bytes octets) {
  constexpr std::uint16_t kUnicodePath = 0x7075;
  constexpr std::size_t kBefore = 5;
  const auto used = static_cast<std::size_t>(std::min<std::uint64_t>(extra_, octets.size()));
  for (const std::uint8_t octet : octets.first(used)) {
    if (field_at_ < field_.size()) {
      field_[field_at_++] = octet;
    } else {
      ++field_at_;
      if (le16(field_.data()) == kUnicodePath && field_at_ > field_.size() + kBefore &&
          other_size_ < other_name_.size())
        other_name_[other_size_++] = static_cast<char>(octet);
    }
    if (field_at_ == field_.size() + le16(&field_[2])) field_at_ = 0;
  }
  extra_ -= used;
  return used;
}

std::size_t Archive::take_name(Bytes octets) {
  const auto used = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, octets.size()));
  const std::size_t kept = std::min(used, name_.size() - name_size_);
  std::copy_n(octets.data(), kept, name_.data() + name_size_);
  name_size_ = static_cast<std::uint16_t>(name_size_ + kept);
  remaining_ -= used;
  return used;
}

void Archive::begin_entry() {
  remaining_ = compressed_;
  if (names_.size() < kMostNames) names_.push_back(hash_of_name({name_.data(), name_size_}));
  if (!tell_other_name()) return;
  begin_member({name_.data(), name_size_});
  if (state_ == State::ignore) return;
  window_ = 0;
  // Programs that open archives go by the directory, so that what a local header says of
  // encryption, method and sizes may be wrong. What is not deflated shows at once.
  if (method_ == 8 || (method_ == 0 && compressed_ != expanded_)) {
    state_ = begin_inflate(-MAX_WBITS) ? State::deflated : State::ignore;
    return;
  }
  // Data of unknown size goes to the next signature, as far as anyone can tell.
  state_ = method_ == 0 && compressed_ > 0 ? State::probe : State::seek;
  collected_ = 0;
  if (state_ == State::seek) end_member();
}

// Whether data is deflated that the header calls stored: what is not shows within a few octets.
bool Archive::is_deflated(Bytes first) {
  if (!begin_inflate(-MAX_WBITS)) return false;
  std::uint8_t out[1024];
  stream_->next_in = const_cast<Bytef*>(first.data());
  stream_->avail_in = static_cast<uInt>(first.size());
  stream_->next_out = out;
  stream_->avail_out = sizeof out;
  const int result = ::inflate(stream_, Z_NO_FLUSH);
  if (stream_->avail_out == sizeof out) return false;
  return result == Z_OK || (result == Z_STREAM_END && stream_->total_in == compressed_);
}

// The first octets of data that is said to be stored are there, or all.
void Archive::end_probe() {
  const std::array<std::uint8_t, kProbe> probe = probe_;
  const Bytes first = Bytes(probe).first(std::exchange(collected_, 0));
  state_ = is_deflated(first) && begin_inflate(-MAX_WBITS) ? State::deflated : State::stored;
  position_ -= first.size();
  read(first);
}

// Takes octets of deflated data. Near the bound they are inflated a unit at a time, and a member
// that reaches it is left at the end of its unit: so where that is does not depend on the cuts.
std::size_t Archive::inflate_some(Bytes in) {
  // An octet of deflate makes 1,032 at most.
  const std::uint64_t safe = left() / 1032;
  if (unit_size_ == 0 && safe > 2 * kUnit)
    return inflate_piece(in.first(static_cast<std::size_t>(
        std::min<std::uint64_t>(in.size(), std::min<std::uint64_t>(safe - kUnit, 4096)))));
  const std::size_t wanted = kUnit - position_ % kUnit;
  const std::size_t taken = std::min(in.size(), wanted);
  std::copy_n(in.data(), taken, unit_.data() + unit_size_);
  unit_size_ += taken;
  if (taken == wanted) {
    position_ += taken;
    inflate_unit();
    position_ -= taken;  // which the caller adds
  }
  return taken;
}

// What has gathered of a unit; octets behind the end of the data are read on.
void Archive::inflate_unit() {
  const std::array<std::uint8_t, kUnit> unit = unit_;
  const Bytes octets = Bytes(unit).first(std::exchange(unit_size_, 0));
  const Bytes rest = octets.subspan(inflate_piece(octets));
  if (rest.empty()) return;
  position_ -= rest.size();
  read(rest);
}

std::size_t Archive::inflate_piece(Bytes piece) {
  std::uint8_t buffer[4096];
  stream_->next_in = const_cast<Bytef*>(piece.data());
  stream_->avail_in = static_cast<uInt>(piece.size());
  for (;;) {
    stream_->next_out = buffer;
    stream_->avail_out = sizeof buffer;
    const int result = ::inflate(stream_, Z_NO_FLUSH);
    if (gzip_ && !in_member_ && gzip_header_->done == 1) begin_gzip_member();
    member_data({buffer, sizeof buffer - stream_->avail_out});
    const std::size_t used = piece.size() - stream_->avail_in;
    if (state_ == State::ignore) return piece.size();
    if (result == Z_STREAM_END || (result != Z_OK && result != Z_BUF_ERROR)) {
      end_member();
      window_ = 0;
      collected_ = 0;
      state_ = gzip_ ? (result == Z_STREAM_END ? State::gzip_next : State::ignore) : State::seek;
      return used;
    }
    if (stream_->avail_in == 0 && stream_->avail_out != 0) return used;
    if (result == Z_BUF_ERROR) return used;
  }
}

void Archive::feed(Bytes octets) {
  if (level_ > 0) return read(octets);
  // What may be inflated grows by blocks of the file: of a block all that it stands for has been
  // inflated when it ends, of a part of one that is a matter of the cuts.
  constexpr std::uint64_t kBlock = 1024;
  while (!octets.empty()) {
    const Bytes piece = octets.first(
        static_cast<std::size_t>(std::min<std::uint64_t>(octets.size(), kBlock - fed_ % kBlock)));
    const Limits& limits = context_.limits;
    const std::uint64_t sent = context_.archives + (fed_ / kBlock + 1) * kBlock;
    context_.inflatable =
        std::min(limits.archive_octets, limits.archive_free + limits.archive_ratio * sent);
    read(piece);
    fed_ += piece.size();
    octets = octets.subspan(piece.size());
  }
}

void Archive::read(Bytes octets) {
  while (!octets.empty() && state_ != State::ignore) {
    std::size_t used = 0;
    switch (state_) {
      case State::begin:
        used = collect(octets, 2);
        if (collected_ < 2) break;
        if (header_[0] == 'P' && header_[1] == 'K') {
          window_ = 'P' << 8 | 'K';
          state_ = State::seek;
        } else if (header_[0] == 0x1f && header_[1] == 0x8b) {
          gzip_ = true;
          state_ = State::gzip_next;  // the two octets are there already
        } else {
          state_ = State::ignore;
        }
        if (state_ != State::begin && state_ != State::ignore &&
            level_ >= context_.limits.archive_depth) {
          stop();
        }
        break;
      case State::gzip_next:
        // The next member of a gzip file begins with its two octets; anything else is padding.
        used = collect(octets, 2);
        if (collected_ < 2) break;
        if (header_[0] != 0x1f || header_[1] != 0x8b || !begin_inflate(16 + MAX_WBITS)) {
          state_ = State::ignore;
          break;
        }
        begin_gzip_header();
        state_ = State::deflated;
        inflate_piece(Bytes(header_).first(2));
        break;
      case State::seek:
        for (; used < octets.size() && state_ == State::seek; ++used) {
          window_ = window_ << 8 | octets[used];
          if (window_ == kLocal) state_ = State::local;
          if (window_ == kCentral) {
            if (directory_ == 0) directory_ = position_ + used - 3;
            state_ = State::central;
          }
        }
        collected_ = 0;
        break;
      case State::local:
        used = collect(octets, kLocalSize);
        if (collected_ == kLocalSize) read_local();
        break;
      case State::central:
        used = collect(octets, kCentralSize);
        if (collected_ == kCentralSize) read_central();
        break;
      case State::name:
        used = take_name(octets);
        if (remaining_ == 0) state_ = State::extra;
        break;
      case State::central_name:
        used = take_name(octets);
        if (remaining_ > 0) break;
        state_ = State::central_extra;
        if (extra_ == 0) end_central();
        break;
      case State::central_extra:
        used = take_extra(octets);
        if (extra_ == 0) end_central();
        break;
      case State::extra:
        used = take_extra(octets);
        if (extra_ == 0) begin_entry();
        break;
      case State::probe: {
        const std::uint64_t wanted = std::min<std::uint64_t>(kProbe, remaining_) - collected_;
        used = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, octets.size()));
        std::copy_n(octets.data(), used, probe_.data() + collected_);
        collected_ += used;
        if (used < wanted) break;
        position_ += used;
        end_probe();
        position_ -= used;  // which is added below
        break;
      }
      case State::stored:
        used = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, octets.size()));
        remaining_ -= used;
        member_data(octets.first(used));
        if (remaining_ == 0 && state_ == State::stored) {
          end_member();
          window_ = 0;
          state_ = State::seek;
        }
        break;
      case State::deflated:
        used = inflate_some(octets);
        break;
      case State::ignore:
        break;
    }
    position_ += used;
    octets = octets.subspan(used);
  }
}

void Archive::finish() {
  if (state_ == State::probe && collected_ > 0) end_probe();
  if (state_ == State::deflated && unit_size_ > 0) inflate_unit();
  if (state_ == State::central_extra) end_central();
  end_member();
  if (level_ == 0) context_.archives += std::exchange(fed_, 0);
  state_ = State::ignore;
}

ArchiveSearch::~ArchiveSearch() {
  if (archive_ != nullptr)
    std::pmr::polymorphic_allocator<>(&context_.memory).delete_object(archive_);
}

void ArchiveSearch::begin(PartNumber part, std::uint32_t depth, std::string_view signature) {
  archive_ = std::pmr::polymorphic_allocator<>(&context_.memory)
                 .new_object<Archive>(context_, part, depth, level_);
  archive_->feed(as_bytes(signature));
  state_ = State::archive;
}

void ArchiveSearch::feed(PartNumber part, std::uint32_t depth, Bytes octets, bool inside) {
  // Names between what is found of a zip file, in the order of the octets, whatever the cuts.
  while (inside && !named_ && !octets.empty()) {
    if (names_ == nullptr) names_ = make_pmr<MemberNames>(&context_.memory, context_, part, depth);
    const Bytes piece = octets.first(names_->take(octets));
    look(part, depth, piece, inside);
    octets = octets.subspan(piece.size());
    named_ = !names_->tell();
    if (named_) names_.reset();
  }
  look(part, depth, octets, inside);
}

// For a gzip or zip file.
void ArchiveSearch::look(PartNumber part, std::uint32_t depth, Bytes octets, bool inside) {
  if (octets.empty() || state_ == State::none) return;
  if (state_ == State::start) {
    state_ = octets[0] == 0x1f ? State::maybe_gzip : State::search;
    if (state_ == State::maybe_gzip) {
      octets = octets.subspan(1);
      searched_ = 1;
    }
  }
  if (state_ == State::maybe_gzip && !octets.empty()) {
    if (octets[0] == 0x8b) {
      begin(part, depth, "\x1f\x8b");
      octets = octets.subspan(1);
    } else {
      state_ = State::search;
    }
  }
  if (state_ == State::archive) {
    archive_->feed(octets);
  } else if (state_ == State::search) {
    search(part, depth, octets, inside);
  }
}

// Looks for the first local header of a zip file.
void ArchiveSearch::search(PartNumber part, std::uint32_t depth, Bytes octets, bool inside) {
  constexpr std::string_view kSignature = "PK\3\4";
  const std::string_view text = as_text(octets);
  for (std::size_t at = 0; at < text.size();) {
    if (matched_ == 0 && inside) {
      at = first_match(text, at, matched_);
      continue;
    }
    if (text[at] == kSignature[matched_]) {
      ++at;
      if (++matched_ < kSignature.size()) continue;
      found_inside_ = searched_ + at != kSignature.size();
      begin(part, depth, kSignature);
      return archive_->feed(octets.subspan(at));
    }
    if (!inside) {
      state_ = State::none;
      return;
    }
    matched_ = 0;
  }
  searched_ += octets.size();
}

void ArchiveSearch::finish() {
  if (archive_ != nullptr) {
    archive_->finish();
    std::pmr::polymorphic_allocator<>(&context_.memory).delete_object(archive_);
    archive_ = nullptr;
  }
  names_.reset();
  named_ = false;
  state_ = State::start;
  found_inside_ = false;
  matched_ = 0;
  searched_ = 0;
}

}  // namespace sluice::mime
