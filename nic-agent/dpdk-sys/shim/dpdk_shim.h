/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of dpdk-sys: what bindgen cannot bind (inline functions, static
 * masks in headers) and what must not be bound because its layout differs
 * between DPDK releases (rte_mbuf, rte_eth_link, the configuration structs).
 *
 * Everything here is plain: fixed-width integers, pointers to opaque types and
 * structs of our own.  The compiler of the installed DPDK's headers works out
 * every offset, so Rust never repeats a layout.
 */
#ifndef DPDK_SHIM_H
#define DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* --- version ------------------------------------------------------------ */

static const uint32_t SHIM_VERSION_YEAR = RTE_VER_YEAR;
static const uint32_t SHIM_VERSION_MONTH = RTE_VER_MONTH;
static const uint32_t SHIM_VERSION_MINOR = RTE_VER_MINOR;

/* --- mbuf: where its fields are ------------------------------------------
 * The fields that a data path reads for every packet are read in Rust at these
 * offsets, without a call; their widths are asserted in dpdk_shim.c.
 */
static const size_t SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr);
static const size_t SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off);
static const size_t SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt);
static const size_t SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs);
static const size_t SHIM_MBUF_PORT = offsetof(struct rte_mbuf, port);
static const size_t SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags);
static const size_t SHIM_MBUF_PACKET_TYPE = offsetof(struct rte_mbuf, packet_type);
static const size_t SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len);
static const size_t SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len);
static const size_t SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci);
static const size_t SHIM_MBUF_HASH_RSS = offsetof(struct rte_mbuf, hash.rss);
static const size_t SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len);
static const size_t SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next);
static const size_t SHIM_MBUF_POOL = offsetof(struct rte_mbuf, pool);
static const size_t SHIM_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload);
static const uint16_t SHIM_MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint16_t SHIM_MBUF_DEFAULT_BUF = RTE_MBUF_DEFAULT_BUF_SIZE;

static const uint64_t SHIM_RX_VLAN = RTE_MBUF_F_RX_VLAN;
static const uint64_t SHIM_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t SHIM_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t SHIM_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t SHIM_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t SHIM_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t SHIM_RX_IP_CKSUM_NONE = RTE_MBUF_F_RX_IP_CKSUM_NONE;
static const uint64_t SHIM_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t SHIM_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t SHIM_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t SHIM_MBUF_INDIRECT = RTE_MBUF_F_INDIRECT;
static const uint64_t SHIM_MBUF_EXTERNAL = RTE_MBUF_F_EXTERNAL;
static const uint64_t SHIM_TX_VLAN = RTE_MBUF_F_TX_VLAN;
static const uint64_t SHIM_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t SHIM_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t SHIM_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t SHIM_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t SHIM_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;
static const uint64_t SHIM_TX_L4_MASK = RTE_MBUF_F_TX_L4_MASK;

/* --- ethdev offloads, as numbers ------------------------------------------ */

static const uint64_t SHIM_RX_OFFLOAD_VLAN_STRIP = RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
static const uint64_t SHIM_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t SHIM_TX_OFFLOAD_VLAN_INSERT = RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
static const uint64_t SHIM_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_UDP_CKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

/* RTE_ETH_DEV_SWITCH_DOMAIN_ID_INVALID and friends are macros with casts. */
static const uint16_t SHIM_SWITCH_DOMAIN_INVALID = UINT16_MAX;
static const uint32_t SHIM_LCORE_ANY = UINT32_MAX;
static const uint16_t SHIM_MAX_ETHPORTS = RTE_MAX_ETHPORTS;

/* --- EAL ------------------------------------------------------------------ */

int shim_errno(void);
/* The calling thread's lcore, SHIM_LCORE_ANY where EAL does not know the thread. */
uint32_t shim_lcore_id(void);

/* --- mempool and mbuf ------------------------------------------------------ */

uint32_t shim_mempool_size(const struct rte_mempool *mp);
uint16_t shim_mempool_data_room(struct rte_mempool *mp);
struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *mp);
int shim_pktmbuf_alloc_bulk(struct rte_mempool *mp, struct rte_mbuf **mbufs, unsigned int n);
void shim_pktmbuf_free(struct rte_mbuf *m);
/* Data pointer of the grown or shrunk packet, or NULL where there is no room. */
char *shim_pktmbuf_prepend(struct rte_mbuf *m, uint16_t len);
char *shim_pktmbuf_append(struct rte_mbuf *m, uint16_t len);
char *shim_pktmbuf_adj(struct rte_mbuf *m, uint16_t len);
int shim_pktmbuf_trim(struct rte_mbuf *m, uint16_t len);
int shim_pktmbuf_linearize(struct rte_mbuf *m);
/* Joins `tail` behind `head`; on failure both stay as they were. */
int shim_pktmbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
/* Pointer to `len` bytes at `off`, copied into `buf` where they span segments. */
const void *shim_pktmbuf_read(const struct rte_mbuf *m, uint32_t off, uint32_t len, void *buf);
/* The three lengths that a checksum or VLAN offload needs. */
void shim_mbuf_set_tx_lens(struct rte_mbuf *m, uint16_t l2_len, uint16_t l3_len, uint16_t l4_len);

/* --- ethdev ----------------------------------------------------------------- */

struct shim_eth_info {
	const char *driver_name;   /* lives as long as the driver */
	const char *switch_name;   /* may be NULL; lives as long as the port */
	uint64_t rx_offload_capa;
	uint64_t tx_offload_capa;
	uint32_t if_index;
	uint32_t max_rx_pktlen;
	uint32_t representor;      /* 1 if the port is a representor */
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t rx_desc_min;
	uint16_t rx_desc_max;
	uint16_t tx_desc_min;
	uint16_t tx_desc_max;
	uint16_t rx_desc_default;  /* 0: the driver recommends none */
	uint16_t tx_desc_default;
	uint16_t switch_domain;
	uint16_t switch_port;
};
int shim_eth_info_get(uint16_t port, struct shim_eth_info *out);

struct shim_eth_link {
	uint32_t speed_mbps;       /* UINT32_MAX: unknown */
	uint8_t up;
	uint8_t full_duplex;
	uint8_t autoneg;
};
int shim_eth_link_get_nowait(uint16_t port, struct shim_eth_link *out);

struct shim_eth_conf {
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint32_t mtu;              /* 0: the driver's default */
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint8_t rx_interrupts;
};
int shim_eth_configure(uint16_t port, const struct shim_eth_conf *conf);
int shim_eth_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket,
			    struct rte_mempool *mp);
int shim_eth_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket);
uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t shim_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

/* --- representors ------------------------------------------------------------ */

struct shim_representor_range {
	uint32_t type;             /* enum rte_eth_representor_type */
	int32_t controller;
	int32_t pf;
	int32_t first_function;    /* first VF or SF of the range */
	uint32_t id_base;
	uint32_t id_end;
	char name[64];
};
/*
 * Fills at most `cap` ranges and gives the number that the driver knows, or a
 * negative errno.  `*controller` and `*pf` are the caller port's own.
 */
int shim_eth_representor_info(uint16_t port, uint16_t *controller, uint16_t *pf,
			      struct shim_representor_range *ranges, uint32_t cap);

/* --- flow items without anonymous unions or bitfields -------------------------
 * The same bytes as DPDK's structs of the same name (asserted in dpdk_shim.c);
 * multi-byte fields hold network order.
 */
struct shim_flow_item_eth {
	uint8_t dst[6];
	uint8_t src[6];
	uint16_t ether_type;
	/* Bit 0. DPDK's bitfield of 32-bit units begins right behind the header,
	 * in the last two bytes of the header's last unit. */
	uint16_t has_vlan;
	uint32_t reserved;
};
struct shim_flow_item_vlan {
	uint16_t tci;
	uint16_t inner_type;
	uint32_t has_more_vlan;    /* bit 0 */
};
struct shim_flow_item_ipv4 {
	uint8_t version_ihl;
	uint8_t tos;
	uint16_t total_length;
	uint16_t packet_id;
	uint16_t fragment_offset;
	uint8_t ttl;
	uint8_t proto;
	uint16_t checksum;
	uint8_t src[4];
	uint8_t dst[4];
};
struct shim_flow_item_ipv6 {
	uint32_t vtc_flow;
	uint16_t payload_len;
	uint8_t proto;
	uint8_t hop_limits;
	uint8_t src[16];
	uint8_t dst[16];
	uint32_t extensions;       /* bit 0 hop-by-hop, 1 routing, 2 fragment, ... */
};
struct shim_flow_item_tcp {
	uint16_t src_port;
	uint16_t dst_port;
	uint32_t sent_seq;
	uint32_t recv_ack;
	uint8_t data_off;
	uint8_t flags;
	uint16_t rx_win;
	uint16_t checksum;
	uint16_t urgent;
};
struct shim_flow_item_udp {
	uint16_t src_port;
	uint16_t dst_port;
	uint16_t length;
	uint16_t checksum;
};
struct shim_flow_item_icmp {
	uint8_t type;
	uint8_t code;
	uint16_t checksum;
	uint16_t ident;
	uint16_t seq;
};
struct shim_flow_item_arp_eth_ipv4 {
	uint16_t hrd;
	uint16_t pro;
	uint8_t hln;
	uint8_t pln;
	uint16_t op;
	struct rte_ether_addr sha;
	uint32_t spa;
	struct rte_ether_addr tha;
	uint32_t tpa;
};
struct shim_flow_item_vxlan {
	uint8_t flags;
	uint8_t reserved0[3];
	uint8_t vni[3];
	uint8_t reserved1;
};
/* Which bit of the word after the headers DPDK's bitfields are: for a test. */
uint32_t shim_flow_item_eth_has_vlan_bit(void);
uint32_t shim_flow_item_vlan_has_more_bit(void);
uint32_t shim_flow_item_ipv6_has_frag_bit(void);
/* DPDK's default mask of an item type, NULL for one that has none here. */
const void *shim_flow_item_default_mask(uint32_t type);

#endif /* DPDK_SHIM_H */
