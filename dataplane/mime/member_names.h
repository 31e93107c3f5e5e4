// Names of the files in an archive whose members are not opened, by its headers as they stream by:
// tar (POSIX.1-2017 pax, with GNU's long names), RAR 4 and 5 (unrar's technote), and TNEF
// ([MS-OXTNEF] 2.1.3.3: titles of attachments). Each is told as a member of no octets. Memory is
// that of one header; a damaged one ends it, as it does for the programs that unpack.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/mime/context.h"

namespace sluice::mime {

class MemberNames {
 public:
  // Of the file that is the content of `part`.
  MemberNames(Context& context, PartNumber part, std::uint32_t depth)
      : context_(context), part_(part), depth_(depth) {}
  MemberNames(const MemberNames&) = delete;
  MemberNames& operator=(const MemberNames&) = delete;

  // All octets of the file, in order: takes those up to the end of a header, and returns how many.
  std::size_t take(Bytes octets);
  // To be called after take(): tells what a header says that has ended. False: no names come any
  // more.
  bool tell();

 private:
  //  start ─► tar ─► tar_name ─► tar
  //        ├► rar4, rar5 ─► (the same)
  //        └► tnef ─► tnef_title ─► tnef
  enum class State : std::uint8_t { start, tar, tar_name, rar4, rar5, tnef, tnef_title, over };
  static constexpr std::size_t kHeld = 2048;

  // What is wanted of the next header was collected: the state's function reads it, asks for more
  // of it (expect) or passes over what belongs to it (skip).
  void start();
  void tar();
  void tar_name();
  void rar4();
  void rar5();
  void tnef();
  void expect(std::size_t size);
  void skip(std::uint64_t size, State next, std::size_t header);
  void tell_name(std::string_view name);
  std::string_view text(std::size_t at, std::size_t size) const;

  Context& context_;
  PartNumber part_;
  std::uint32_t depth_;
  State state_ = State::start;
  bool pax_ = false;           // tar_name: the records of a pax header, not a name alone
  std::uint64_t skipped_ = 0;  // octets to pass over
  std::uint64_t behind_ = 0;   // tar_name, tnef_title: and those behind what is held
  std::size_t wanted_ = kSignature;
  std::size_t held_size_ = 0;
  std::size_t long_name_size_ = 0;  // of the next member of a tar file
  static constexpr std::size_t kSignature = 8;
  std::array<std::uint8_t, kHeld> held_;
  std::array<char, 512> long_name_;
};

}  // namespace sluice::mime
