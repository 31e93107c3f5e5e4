#include "dataplane/smtp/second_reading.h"

#include <algorithm>
#include <new>

#include "dataplane/smtp/command.h"
#include "dataplane/smtp/line_buffer.h"

namespace sluice::smtp {

void AlternateReader::begin_chunk(std::uint64_t size, bool last) {
  chunk_left_ = size;
  chunk_last_ = last;
  state_ = size > 0 ? State::chunk : State::line;
}

void AlternateReader::begin_again(TransactionId outer) {
  chunk_left_ = 0;
  outer_ = outer;
  state_ = State::line;
  chunk_last_ = skip_lf_ = found_envelope_ = told_envelope_ = begun_ = false;
  only_commands_ = true;
  line_size_ = mailbox_size_ = 0;
}

AlternateReader::Step AlternateReader::read(Bytes octets, SessionSink& sink,
                                            std::uint64_t chunk_limit, bool tell, EndJudge* judge) {
  const std::uint8_t* const begin = octets.data();
  const std::uint8_t* const end = begin + octets.size();
  const std::uint8_t* p = begin;
  const std::uint8_t* from = begin;  // content not yet told
  const std::uint8_t* dot = begin;
  const auto emit = [&](const std::uint8_t* to) {
    if (tell && to > from) {
      if (!begun_) sink.on_smuggled_begin(outer_);
      begun_ = true;
      sink.on_smuggled_data(outer_, {from, to});
    }
    from = to;
  };
  const auto stops = [&] {
    if (tell && begun_) sink.on_smuggled_end(outer_);
    begun_ = false;
    return judge && judge->stops_at_ambiguous_end(outer_);
  };
  const auto ends_line = [](std::uint8_t c) { return c == '\r' || c == '\n'; };

  while (p != end) {
    if (skip_lf_) {
      skip_lf_ = false;
      if (*p == '\n') {
        from = ++p;
        continue;
      }
    }
    switch (state_) {
      case State::line:
        if (ends_line(*p)) {
          skip_lf_ = *p == '\r';
          if (line_size_ > 0) read_line(sink, chunk_limit, tell);
          line_size_ = 0;
          from = p + 1;
        } else if (const auto c = static_cast<char>(*p);
                   c != 0 && line_size_ < sizeof line_ &&
                   !(is_blank(c) && line_size_ > 0 && is_blank(line_[line_size_ - 1]))) {
          line_[line_size_++] = c;
        }
        ++p;
        break;
      case State::line_start:
        if (*p == '.') {
          emit(p);
          dot = p;
          state_ = State::dot;
        } else if (*p != 0 && !ends_line(*p)) {
          state_ = State::text;
        }
        ++p;
        break;
      case State::text:
        p = std::find_if(p, end, ends_line);
        if (p == end) break;
        ++p;
        state_ = State::line_start;
        break;
      case State::dot:
        if (ends_line(*p)) {
          if (stops()) return {static_cast<std::size_t>(dot - begin), true};
          state_ = State::line;
          from = ++p;
        } else {
          if (*p != 0) {
            from = p;
            state_ = State::text;
          }
          ++p;
        }
        break;
      case State::chunk: {
        const auto left = static_cast<std::uint64_t>(end - p);
        const std::uint64_t n = std::min(left, chunk_left_);
        if (n == chunk_left_ && chunk_last_) {
          emit(p + n - 1);
          if (stops()) return {static_cast<std::size_t>(p + n - 1 - begin), true};
        }
        emit(p + n);
        p += n;
        chunk_left_ -= n;
        if (chunk_left_ == 0) state_ = State::line;
        break;
      }
    }
  }
  if (state_ == State::line_start || state_ == State::text) emit(end);
  return {octets.size(), false};
}

void AlternateReader::read_line(SessionSink& sink, std::uint64_t chunk_limit, bool tell) {
  const std::string_view line(line_, line_size_);
  const Command command = parse_command(line);
  switch (command.verb) {
    case Verb::mail:
      if (starts_ignoring_case(command.argument, "FROM")) {
        const Path path = parse_path(command.argument, "FROM");
        mailbox_size_ = static_cast<std::uint16_t>(std::min(path.mailbox.size(), sizeof mailbox_));
        std::copy_n(path.mailbox.begin(), mailbox_size_, mailbox_);
        found_envelope_ = true;
        told_envelope_ = false;
      }
      break;
    case Verb::rcpt:
      if (starts_ignoring_case(command.argument, "TO")) {
        const Path path = parse_path(command.argument, "TO");
        found_envelope_ = true;
        if (!told_envelope_ && tell) {
          sink.on_smuggled_envelope(outer_, {mailbox_, mailbox_size_}, path.mailbox);
          told_envelope_ = true;
        }
      }
      break;
    case Verb::data:
      state_ = State::line_start;  // sendmail minds no argument
      begun_ = false;
      break;
    case Verb::bdat: {
      const ChunkSize size = parse_chunk_size(line, chunk_limit);
      if (size.form != ChunkSize::Form::invalid) begin_chunk(size.octets, size.last);
      break;
    }
    case Verb::rset:
    case Verb::helo:
    case Verb::ehlo:
    case Verb::lhlo:
      mailbox_size_ = 0;
      told_envelope_ = false;
      break;
    case Verb::unknown:
      only_commands_ = false;
      break;
    default:
      break;
  }
}

void SecondReading::keep(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory) {
  if (lost || octets.empty()) return;
  const std::size_t wanted = size + octets.size();
  bool fits = wanted <= limit;
  if (fits && wanted > capacity) {
    std::size_t grown = std::max<std::size_t>(capacity, 512);
    while (grown < wanted) grown *= 2;
    auto* block = static_cast<std::uint8_t*>(try_allocate(memory, grown, 1));
    fits = block != nullptr;
    if (fits) {
      std::copy_n(data, size, block);
      if (data) {
        wipe(data, size);
        memory->deallocate(data, capacity, 1);
      }
      data = block;
      capacity = static_cast<std::uint32_t>(grown);
    }
  }
  if (!fits) {
    lose(memory);
    return;
  }
  std::copy(octets.begin(), octets.end(), data + size);
  size = static_cast<std::uint32_t>(wanted);
}

void SecondReading::lose(std::pmr::memory_resource* memory) {
  if (data) {
    wipe(data, size);
    memory->deallocate(data, capacity, 1);
  }
  data = nullptr;
  size = 0;
  later_end = 0;
  capacity = 0;
  lost = true;
}

bool SecondReading::at_later_end() const {
  const Bytes behind = kept().subspan(later_end);
  return later_end > 0 && std::all_of(behind.begin(), behind.end(),
                                      [](std::uint8_t c) { return c == '\r' || c == '\n'; });
}

void SecondReading::begin_again(TransactionId of) {
  if (data) wipe(data, size);
  size = 0;
  tx = of;
  later_end = 0;
  closed = lost = after_cr = answered = false;
  reader.begin_again(of);
}

SecondReading* SecondReading::create(Reason reason, TransactionId tx,
                                     std::pmr::memory_resource* memory) {
  void* place = try_allocate(memory, sizeof(SecondReading), alignof(SecondReading));
  return place ? new (place) SecondReading(reason, tx) : nullptr;
}

void SecondReading::destroy(SecondReading* reading, std::pmr::memory_resource* memory) {
  if (!reading) return;
  reading->lose(memory);
  wipe(&reading->reader, sizeof reading->reader);
  memory->deallocate(reading, sizeof(SecondReading), alignof(SecondReading));
}

}  // namespace sluice::smtp
