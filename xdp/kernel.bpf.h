/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's and libbpf's headers, in the one order in which they compile. UAPI only: the object
 * must load on kernels other than the one it was built on. */
#ifndef SLUICE_XDP_KERNEL_BPF_H
#define SLUICE_XDP_KERNEL_BPF_H

/* clang-format off */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
/* clang-format on */

#endif
