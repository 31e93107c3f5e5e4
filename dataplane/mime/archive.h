// What is inside gzip and zip files, as a stream, for scanning (case B19). Members become parts
// (alternative), their octets DataKind::alternative. Zip is read by its local headers, in the order
// of the file; the central directory shows whether entries overlap, and names that no local header
// has (programs show those) are told as members of no octets, as are those of Info-ZIP's Unicode
// path field (0x7075), which stand beside a header's. Nested archives are entered to a depth.
// Octets, depth and members are bounded, and with the octets the time: past a bound the rest is not
// inflated and Anomaly::limit is raised.
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include "dataplane/mime/context.h"
#include "dataplane/mime/magic.h"
#include "dataplane/mime/member_names.h"

struct gz_header_s;
struct z_stream_s;

namespace sluice::mime {

class ArchiveSearch;

class Archive {
 public:
  // An archive that is the content of `part`, `level` archives deep (0: not in another one).
  Archive(Context& context, PartNumber part, std::uint32_t depth, std::uint32_t level);
  ~Archive();
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  // All octets of the file, in order.
  void feed(Bytes octets);
  // The file ends; members in progress end.
  void finish();

 private:
  //  zip: seek -- PK34 --> local -- name, extra --> [probe] --> stored | deflated --> seek
  //       seek -- PK12 --> central -- name, extra --> seek
  //  gzip: deflated, and again while a member follows
  enum class State : std::uint8_t {
    begin,
    seek,
    local,
    name,
    extra,
    probe,
    stored,
    deflated,
    central,
    central_name,
    central_extra,
    gzip_next,
    ignore,
  };
  void read(Bytes octets);
  std::size_t collect(Bytes in, std::size_t size);
  void read_local();
  void read_central();
  void begin_names(std::uint16_t extra);
  void end_central();
  std::size_t take_name(Bytes octets);
  std::size_t take_extra(Bytes octets);
  bool tell_name(std::string_view name);
  bool tell_other_name();
  void begin_entry();
  bool begin_inflate(int window_bits);
  void end_probe();
  bool is_deflated(Bytes first);
  std::size_t inflate_some(Bytes in);
  void inflate_unit();
  std::size_t inflate_piece(Bytes piece);
  std::uint64_t left() const;
  void begin_gzip_header();
  void begin_gzip_member();
  void begin_member(std::string_view name);
  void member_data(Bytes octets);
  void end_member();
  void stop();
  void pass_over();

  Context& context_;
  PartNumber part_;
  std::uint32_t depth_;
  std::uint32_t level_;
  State state_ = State::begin;
  bool gzip_ = false;
  bool in_member_ = false;
  PartNumber member_ = 0;
  std::uint64_t member_octets_ = 0;
  TypeDetector member_type_;
  ArchiveSearch* inner_ = nullptr;
  z_stream_s* stream_ = nullptr;
  gz_header_s* gzip_header_ = nullptr;

  std::uint64_t fed_ = 0;        // octets of the file
  std::uint64_t position_ = 0;   // octets of the archive taken
  std::uint64_t remaining_ = 0;  // of a name, an extra field, stored data
  std::uint64_t extra_ = 0;
  std::uint64_t listed_ = 0;     // compressed octets that the central directory lists
  std::uint64_t directory_ = 0;  // where it begins
  std::uint16_t method_ = 0;
  std::uint32_t compressed_ = 0;  // size of the member, by its local header
  std::uint32_t expanded_ = 0;
  std::uint32_t window_ = 0;  // the last four octets, while seeking
  static constexpr std::size_t kUnit = 16;
  std::array<std::uint8_t, kUnit> unit_{};  // of deflated data, near the bound
  std::size_t unit_size_ = 0;
  static constexpr std::size_t kProbe = 128;
  std::array<std::uint8_t, kProbe> probe_{};  // what stored data begins with
  std::size_t collected_ = 0;
  std::array<std::uint8_t, 46> header_{};
  std::uint16_t name_size_ = 0;
  std::array<char, 256> name_{};
  std::uint16_t other_size_ = 0;
  std::array<char, 256> other_name_{};   // of a Unicode path field
  std::uint32_t field_at_ = 0;           // octets of an extra field so far
  std::array<std::uint8_t, 4> field_{};  // its id and size
  static constexpr std::size_t kMostNames = 4096;
  std::pmr::vector<std::uint32_t> names_;        // hashes of the local headers'
  std::pmr::vector<std::uint32_t> other_names_;  // of those told of Unicode path fields
  std::size_t central_ = 0;                      // entries of the directory so far
};

// The archive that a file is, or that begins somewhere in it: programs that open a zip file look
// for its directory from the end, and do not mind what stands in front (a self-extracting program,
// one stray octet). The names in archives of other kinds are told, and nothing else of them.
class ArchiveSearch {
 public:
  ArchiveSearch(Context& context, std::uint32_t level) : context_(context), level_(level) {}
  ~ArchiveSearch();
  ArchiveSearch(const ArchiveSearch&) = delete;
  ArchiveSearch& operator=(const ArchiveSearch&) = delete;

  // All octets of the file, which is the content of `part`, in order. `inside`: also in the middle.
  void feed(PartNumber part, std::uint32_t depth, Bytes octets, bool inside);
  // The file ends, and its archive with it: another may follow.
  void finish();
  // A zip file began behind other octets.
  bool found_inside() const { return found_inside_; }

 private:
  enum class State : std::uint8_t { start, maybe_gzip, search, archive, none };
  void begin(PartNumber part, std::uint32_t depth, std::string_view signature);
  void look(PartNumber part, std::uint32_t depth, Bytes octets, bool inside);
  void search(PartNumber part, std::uint32_t depth, Bytes octets, bool inside);

  Context& context_;
  std::uint32_t level_;
  State state_ = State::start;
  bool found_inside_ = false;
  std::uint8_t matched_ = 0;  // octets of a zip file's signature at the end of the last call's
  bool named_ = false;        // what names_ can tell was told
  std::uint64_t searched_ = 0;
  Archive* archive_ = nullptr;
  PmrPtr<MemberNames> names_;
};

}  // namespace sluice::mime
