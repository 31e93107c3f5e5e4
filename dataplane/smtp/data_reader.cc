#include "dataplane/smtp/data_reader.h"

#include "dataplane/base/vectors.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace sluice::smtp {

namespace {

constexpr std::uint8_t kCrLf[2] = {'\r', '\n'};

// The first CR or LF in [p, end), or end. One pass for both: a bare CR matters as much as a bare
// LF, and two memchr() would read everything twice.
const std::uint8_t* find_line_octet(const std::uint8_t* p, const std::uint8_t* end) {
#ifdef __SSE2__
  const __m128i cr = _mm_set1_epi8('\r');
  const __m128i lf = _mm_set1_epi8('\n');
  while (end - p >= 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const int hits = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf)));
    if (hits != 0) return p + __builtin_ctz(static_cast<unsigned>(hits));
    p += 16;
  }
#endif
  while (p != end && *p != '\r' && *p != '\n') ++p;
  return p;
}

#ifdef __x86_64__
// Whether one of 64 places is a CR or the octet before an LF, but not both, or is the CR before a
// line that is not usual. 66 octets are read.
[[gnu::target("avx512f,avx512bw")]] inline bool unusual_64(const std::uint8_t* p) {
  const __m512i third = _mm512_loadu_si512(p + 2);
  const std::uint64_t cr = _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(p), _mm512_set1_epi8('\r'));
  const std::uint64_t lf =
      _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(p + 1), _mm512_set1_epi8('\n'));
  const std::uint64_t marked =
      _mm512_cmpeq_epi8_mask(third, _mm512_set1_epi8('.')) | _mm512_testn_epi8_mask(third, third);
  return ((cr ^ lf) | (lf & marked)) != 0;
}

[[gnu::target("avx2")]] inline __m256i load32(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
[[gnu::target("avx2")]] inline __m256i equal32(__m256i octets, char wanted) {
  return _mm256_cmpeq_epi8(octets, _mm256_set1_epi8(wanted));
}

// Likewise, of 32; 34 are read.
[[gnu::target("avx2")]] inline bool unusual_32(const std::uint8_t* p) {
  const __m256i cr = equal32(load32(p), '\r');
  const __m256i lf = equal32(load32(p + 1), '\n');
  const __m256i third = load32(p + 2);
  const __m256i marked = _mm256_or_si256(equal32(third, '.'), equal32(third, '\0'));
  const __m256i any = _mm256_or_si256(_mm256_xor_si256(cr, lf), _mm256_and_si256(lf, marked));
  return _mm256_testz_si256(any, any) == 0;
}

// From p, in the middle of a line and not at its LF, over lines of the usual kind, as many whole
// stretches of 64 octets as have nothing else: back in the middle of a line (or before its CR).
[[gnu::target("avx512f,avx512bw")]] const std::uint8_t* skip_usual_64(const std::uint8_t* p,
                                                                      const std::uint8_t* end) {
  const std::uint8_t* const begin = p;
  while (end - p >= 66 && !unusual_64(p)) p += 64;
  return p != begin && p[-1] == '\r' ? p - 1 : p;
}
// Likewise, of 32.
[[gnu::target("avx2")]] const std::uint8_t* skip_usual_32(const std::uint8_t* p,
                                                          const std::uint8_t* end) {
  const std::uint8_t* const begin = p;
  while (end - p >= 34 && !unusual_32(p)) p += 32;
  return p != begin && p[-1] == '\r' ? p - 1 : p;
}
#endif

// The same by what the CPU has, from anywhere in a line.
const std::uint8_t* skip_usual(const std::uint8_t* p, const std::uint8_t* end) {
#ifdef __x86_64__
  if (*p == '\n') return p;  // a bare one: what is before a place is not looked at
  if (end - p >= 66 && has(Vectors::avx512)) return skip_usual_64(p, end);
  if (end - p >= 34 && has(Vectors::avx2)) return skip_usual_32(p, end);
#else
  static_cast<void>(end);
#endif
  return p;
}

}  // namespace

void DataReader::start() {
  state_ = State::line_start;
  bare_lf_ = false;
  bare_cr_ = false;
  ambiguous_told_ = false;
  held_tail_ = 0;
}

void DataReader::skip() {
  state_ = State::text;
  ambiguous_told_ = false;
}

void DataReader::go_on_behind(const std::uint8_t (&last)[2]) {
  ambiguous_told_ = false;
  held_tail_ = 0;
  state_ = last[1] == '\r' ? State::cr : State::text;
  if (last[1] == '\n') state_ = last[0] == '\r' ? State::line_start : State::lenient_start;
}

void DataReader::not_the_end(TransactionId tx, SessionSink& sink) {
  sink.on_stuffed_dot(tx);
  sink.on_message_data(tx, kCrLf);
  state_ = State::line_start;
}

DataReader::Event DataReader::advance(State& state, std::uint8_t octet) {
  Event event = Event::none;
  // At most two states are left without taking the octet.
  for (;;) {
    switch (state) {
      case State::text:
        if (octet == '\n') state = State::lenient_start;
        if (octet == '\r') state = State::cr;
        return event;
      case State::cr:
        if (octet == '\n') {
          state = State::line_start;
          return event;
        }
        state = State::lenient_start;
        break;
      case State::line_start:
      case State::lenient_start:
        if (octet == 0) {
          state = State::lenient_start;
          return event;
        }
        if (octet == '.') {
          state = state == State::line_start ? State::dot : State::lenient_dot;
          return event;
        }
        state = State::text;
        break;
      case State::dot:
        if (octet == '\r') {
          state = State::dot_cr;
          return event;
        }
        [[fallthrough]];
      case State::lenient_dot:
        if (octet == 0) {
          state = State::lenient_dot;
          return event;
        }
        if (octet == '\r' || octet == '\n') {
          state = octet == '\r' ? State::cr : State::lenient_start;
          return Event::ambiguous;
        }
        state = State::text;
        break;
      case State::dot_cr:
        if (octet == '\n') return Event::end;
        event = Event::ambiguous;
        state = State::lenient_start;
        break;
    }
  }
}

DataReader::Step DataReader::read(Bytes octets, TransactionId tx, SessionSink& sink) {
  const std::uint8_t* const begin = octets.data();
  const std::uint8_t* const end = begin + octets.size();
  const std::uint8_t* p = begin;
  const std::uint8_t* from = begin;  // first octet not yet passed on
  const std::uint8_t* dot = begin;   // of the end line, or `begin` when it came before
  const auto emit = [&](const std::uint8_t* to) {
    if (to > from) sink.on_message_data(tx, {from, to});
    from = to;
  };
  const auto step = [&](Event event) {
    return Step{.consumed = static_cast<std::size_t>(p - begin),
                .event = event,
                .tail = static_cast<std::size_t>(p - dot)};
  };
  const auto stuffed = [&] { sink.on_stuffed_dot(tx); };

  while (p != end) {
    switch (state_) {
      case State::text:
        p = find_line_octet(skip_usual(p, end), end);
        if (p == end) break;
        if (*p == '\n') {
          ++p;
          bare_lf_ = true;
          state_ = State::lenient_start;
        } else if (++p != end && *p == '\n') {
          ++p;
          // The usual line: back to the search without a turn of the switch.
          if (p == end || *p == '.' || *p == 0) state_ = State::line_start;
        } else {
          state_ = State::cr;
        }
        break;
      case State::cr:
        if (*p == '\n') {
          ++p;
          state_ = State::line_start;
        } else {
          bare_cr_ = true;
          state_ = State::lenient_start;
        }
        break;
      case State::line_start:
        if (*p == '.') {
          emit(p);
          dot = p++;
          from = p;
          state_ = State::dot;
        } else if (*p == 0) {
          ++p;
          state_ = State::lenient_start;
        } else {
          state_ = State::text;
        }
        break;
      case State::lenient_start:
        if (*p == 0) {
          ++p;
        } else if (*p == '.') {
          dot = p++;
          state_ = State::lenient_dot;
        } else {
          state_ = State::text;
        }
        break;
      case State::dot:
        if (*p == '\r') {
          ++p;
          from = p;
          state_ = State::dot_cr;
          break;
        }
        stuffed();
        if (*p == '\n') {
          ++p;
          bare_lf_ = true;
          state_ = State::lenient_start;
          emit(p);
          return step(Event::ambiguous);
        }
        if (*p == 0) {
          ++p;
          state_ = State::lenient_dot;
        } else {
          state_ = State::text;
        }
        break;
      case State::dot_cr:
        if (*p == '\n') {
          ++p;
          return step(Event::end);
        }
        ambiguous_told_ = !ambiguous_told_;
        if (ambiguous_told_) return step(Event::ambiguous);
        stuffed();
        sink.on_message_data(tx, Bytes(kCrLf).first(1));
        bare_cr_ = true;
        state_ = State::lenient_start;
        break;
      case State::lenient_dot:
        if (*p == 0) {
          ++p;
        } else if (*p == '\r') {
          ++p;
          state_ = State::cr;
          emit(p);
          return step(Event::ambiguous);
        } else if (*p == '\n') {
          ++p;
          bare_lf_ = true;
          state_ = State::lenient_start;
          emit(p);
          return step(Event::ambiguous);
        } else {
          state_ = State::text;
        }
        break;
    }
  }
  if (state_ != State::dot && state_ != State::dot_cr) emit(end);
  held_tail_ = static_cast<std::uint8_t>(state_ == State::dot_cr ? (end - dot < 2 ? 1 : 2) : 0);
  return step(Event::none);
}

}  // namespace sluice::smtp
