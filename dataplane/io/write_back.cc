#include "dataplane/io/write_back.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>

namespace sluice::io {

namespace {

void cut_in_place(rte_mbuf* frame, Bytes octets) {
  const auto shift = octets.data() - rte_pktmbuf_mtod(frame, const std::uint8_t*);
  if (shift > 0) rte_pktmbuf_adj(frame, static_cast<std::uint16_t>(shift));
  const auto size = static_cast<std::uint32_t>(octets.size());
  if (size < frame->pkt_len)
    rte_pktmbuf_trim(frame, static_cast<std::uint16_t>(frame->pkt_len - size));
}

// Takes octets off the end, and buffers that are empty then.
void shorten(rte_mbuf* frame, std::size_t size) {
  while (frame->pkt_len > size) {
    const std::uint32_t excess = frame->pkt_len - static_cast<std::uint32_t>(size);
    rte_mbuf* last = rte_pktmbuf_lastseg(frame);
    const auto cut = static_cast<std::uint16_t>(std::min<std::uint32_t>(excess, last->data_len));
    if (cut == 0 || rte_pktmbuf_trim(frame, cut) != 0) break;
    if (last->data_len == 0 && last != frame) {
      rte_mbuf* before = frame;
      while (before->next != last) before = before->next;
      before->next = nullptr;
      --frame->nb_segs;
      rte_pktmbuf_free_seg(last);
    }
  }
}

}  // namespace

void write_back(rte_mbuf* frame, Bytes octets) {
  if (frame->nb_segs == 1) {
    cut_in_place(frame, octets);
    return;
  }
  std::size_t at = 0;
  for (rte_mbuf* part = frame; part != nullptr && at < octets.size(); part = part->next) {
    const std::size_t size = std::min<std::size_t>(part->data_len, octets.size() - at);
    std::memcpy(rte_pktmbuf_mtod(part, std::uint8_t*), octets.data() + at, size);
    at += size;
  }
  shorten(frame, octets.size());
}

}  // namespace sluice::io
