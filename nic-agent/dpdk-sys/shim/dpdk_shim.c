/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dpdk_shim.h"

#define WIDTH(type, field, bytes)                                                  \
	_Static_assert(sizeof(((struct type *)0)->field) == (bytes),               \
		       #type "." #field " has another width than Rust reads")

WIDTH(rte_mbuf, buf_addr, sizeof(void *));
WIDTH(rte_mbuf, data_off, 2);
WIDTH(rte_mbuf, refcnt, 2);
WIDTH(rte_mbuf, nb_segs, 2);
WIDTH(rte_mbuf, port, 2);
WIDTH(rte_mbuf, ol_flags, 8);
WIDTH(rte_mbuf, packet_type, 4);
WIDTH(rte_mbuf, pkt_len, 4);
WIDTH(rte_mbuf, data_len, 2);
WIDTH(rte_mbuf, vlan_tci, 2);
WIDTH(rte_mbuf, hash.rss, 4);
WIDTH(rte_mbuf, buf_len, 2);
WIDTH(rte_mbuf, next, sizeof(void *));
WIDTH(rte_mbuf, pool, sizeof(void *));
WIDTH(rte_mbuf, tx_offload, 8);
_Static_assert(sizeof(struct rte_mbuf) == 128, "an mbuf is two cache lines");
_Static_assert(LCORE_ID_ANY == UINT32_MAX, "LCORE_ID_ANY has another value");
_Static_assert(RTE_ETH_DEV_SWITCH_DOMAIN_ID_INVALID == UINT16_MAX,
	       "the invalid switch domain has another value");

#define SAME(name) _Static_assert(sizeof(struct shim_##name) == sizeof(struct rte_##name),  \
				  "struct rte_" #name " has another size")
#define AT(name, ours, theirs)                                                     \
	_Static_assert(offsetof(struct shim_##name, ours) ==                       \
			       offsetof(struct rte_##name, theirs),                \
		       "struct rte_" #name " has " #theirs " elsewhere")

SAME(flow_item_eth);
AT(flow_item_eth, dst, hdr.dst_addr);
AT(flow_item_eth, src, hdr.src_addr);
AT(flow_item_eth, ether_type, hdr.ether_type);
SAME(flow_item_vlan);
AT(flow_item_vlan, tci, hdr.vlan_tci);
AT(flow_item_vlan, inner_type, hdr.eth_proto);
SAME(flow_item_ipv4);
AT(flow_item_ipv4, tos, hdr.type_of_service);
AT(flow_item_ipv4, total_length, hdr.total_length);
AT(flow_item_ipv4, packet_id, hdr.packet_id);
AT(flow_item_ipv4, fragment_offset, hdr.fragment_offset);
AT(flow_item_ipv4, ttl, hdr.time_to_live);
AT(flow_item_ipv4, proto, hdr.next_proto_id);
AT(flow_item_ipv4, checksum, hdr.hdr_checksum);
AT(flow_item_ipv4, src, hdr.src_addr);
AT(flow_item_ipv4, dst, hdr.dst_addr);
SAME(flow_item_ipv6);
AT(flow_item_ipv6, vtc_flow, hdr.vtc_flow);
AT(flow_item_ipv6, payload_len, hdr.payload_len);
AT(flow_item_ipv6, proto, hdr.proto);
AT(flow_item_ipv6, hop_limits, hdr.hop_limits);
AT(flow_item_ipv6, src, hdr.src_addr);
AT(flow_item_ipv6, dst, hdr.dst_addr);
SAME(flow_item_tcp);
AT(flow_item_tcp, src_port, hdr.src_port);
AT(flow_item_tcp, dst_port, hdr.dst_port);
AT(flow_item_tcp, sent_seq, hdr.sent_seq);
AT(flow_item_tcp, recv_ack, hdr.recv_ack);
AT(flow_item_tcp, data_off, hdr.data_off);
AT(flow_item_tcp, flags, hdr.tcp_flags);
AT(flow_item_tcp, rx_win, hdr.rx_win);
AT(flow_item_tcp, checksum, hdr.cksum);
AT(flow_item_tcp, urgent, hdr.tcp_urp);
SAME(flow_item_udp);
AT(flow_item_udp, src_port, hdr.src_port);
AT(flow_item_udp, dst_port, hdr.dst_port);
AT(flow_item_udp, length, hdr.dgram_len);
AT(flow_item_udp, checksum, hdr.dgram_cksum);
SAME(flow_item_icmp);
AT(flow_item_icmp, type, hdr.icmp_type);
AT(flow_item_icmp, code, hdr.icmp_code);
AT(flow_item_icmp, checksum, hdr.icmp_cksum);
AT(flow_item_icmp, ident, hdr.icmp_ident);
AT(flow_item_icmp, seq, hdr.icmp_seq_nb);
SAME(flow_item_arp_eth_ipv4);
AT(flow_item_arp_eth_ipv4, op, op);
AT(flow_item_arp_eth_ipv4, sha, sha);
AT(flow_item_arp_eth_ipv4, spa, spa);
AT(flow_item_arp_eth_ipv4, tha, tha);
AT(flow_item_arp_eth_ipv4, tpa, tpa);
_Static_assert(sizeof(struct shim_flow_item_vxlan) == sizeof(struct rte_vxlan_hdr),
	       "a VXLAN header has another size");
_Static_assert(sizeof(struct rte_flow_item_vxlan) == sizeof(struct rte_vxlan_hdr),
	       "struct rte_flow_item_vxlan has another size");

/* --- EAL ------------------------------------------------------------------ */

int shim_errno(void)
{
	return rte_errno;
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id();
}

/* --- mempool and mbuf ------------------------------------------------------ */

uint32_t shim_mempool_size(const struct rte_mempool *mp)
{
	return mp->size;
}

uint16_t shim_mempool_data_room(struct rte_mempool *mp)
{
	return rte_pktmbuf_data_room_size(mp);
}

struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *mp)
{
	return rte_pktmbuf_alloc(mp);
}

int shim_pktmbuf_alloc_bulk(struct rte_mempool *mp, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(mp, mbufs, n);
}

void shim_pktmbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

char *shim_pktmbuf_prepend(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_prepend(m, len);
}

char *shim_pktmbuf_append(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_append(m, len);
}

char *shim_pktmbuf_adj(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_adj(m, len);
}

int shim_pktmbuf_trim(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_trim(m, len);
}

int shim_pktmbuf_linearize(struct rte_mbuf *m)
{
	return rte_pktmbuf_linearize(m);
}

int shim_pktmbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

const void *shim_pktmbuf_read(const struct rte_mbuf *m, uint32_t off, uint32_t len, void *buf)
{
	return rte_pktmbuf_read(m, off, len, buf);
}

void shim_mbuf_set_tx_lens(struct rte_mbuf *m, uint16_t l2_len, uint16_t l3_len, uint16_t l4_len)
{
	m->l2_len = l2_len;
	m->l3_len = l3_len;
	m->l4_len = l4_len;
}

/* --- ethdev ----------------------------------------------------------------- */

int shim_eth_info_get(uint16_t port, struct shim_eth_info *out)
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret != 0)
		return ret;
	memset(out, 0, sizeof(*out));
	out->driver_name = info.driver_name;
	out->switch_name = info.switch_info.name;
	out->rx_offload_capa = info.rx_offload_capa;
	out->tx_offload_capa = info.tx_offload_capa;
	out->if_index = info.if_index;
	out->max_rx_pktlen = info.max_rx_pktlen;
	out->representor = (*info.dev_flags & RTE_ETH_DEV_REPRESENTOR) ? 1 : 0;
	out->min_mtu = info.min_mtu;
	out->max_mtu = info.max_mtu;
	out->max_rx_queues = info.max_rx_queues;
	out->max_tx_queues = info.max_tx_queues;
	out->rx_desc_min = info.rx_desc_lim.nb_min;
	out->rx_desc_max = info.rx_desc_lim.nb_max;
	out->tx_desc_min = info.tx_desc_lim.nb_min;
	out->tx_desc_max = info.tx_desc_lim.nb_max;
	out->rx_desc_default = info.default_rxportconf.ring_size;
	out->tx_desc_default = info.default_txportconf.ring_size;
	out->switch_domain = info.switch_info.domain_id;
	out->switch_port = info.switch_info.port_id;
	return 0;
}

int shim_eth_link_get_nowait(uint16_t port, struct shim_eth_link *out)
{
	struct rte_eth_link link;
	int ret;

	memset(&link, 0, sizeof(link));
	ret = rte_eth_link_get_nowait(port, &link);
	if (ret != 0)
		return ret;
	out->speed_mbps = link.link_speed;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	out->autoneg = link.link_autoneg == RTE_ETH_LINK_AUTONEG;
	return 0;
}

int shim_eth_configure(uint16_t port, const struct shim_eth_conf *conf)
{
	struct rte_eth_conf eth;

	memset(&eth, 0, sizeof(eth));
	eth.rxmode.mtu = conf->mtu;
	eth.rxmode.offloads = conf->rx_offloads;
	eth.txmode.offloads = conf->tx_offloads;
	eth.intr_conf.rxq = conf->rx_interrupts != 0;
	return rte_eth_dev_configure(port, conf->rx_queues, conf->tx_queues, &eth);
}

int shim_eth_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket,
			    struct rte_mempool *mp)
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret != 0)
		return ret;
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)socket,
				      &info.default_rxconf, mp);
}

int shim_eth_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket)
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret != 0)
		return ret;
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)socket,
				      &info.default_txconf);
}

uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

uint16_t shim_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_prepare(port, queue, mbufs, n);
}

/* --- representors ------------------------------------------------------------ */

_Static_assert(sizeof(((struct rte_eth_representor_range *)0)->name) <=
		       sizeof(((struct shim_representor_range *)0)->name),
	       "a representor's name would not fit");

int shim_eth_representor_info(uint16_t port, uint16_t *controller, uint16_t *pf,
			      struct shim_representor_range *ranges, uint32_t cap)
{
	struct rte_eth_representor_info *info;
	uint32_t i;
	int known;

	known = rte_eth_representor_info_get(port, NULL);
	if (known <= 0)
		return known;
	info = calloc(1, sizeof(*info) + (size_t)known * sizeof(info->ranges[0]));
	if (info == NULL)
		return -ENOMEM;
	info->nb_ranges_alloc = (uint32_t)known;
	known = rte_eth_representor_info_get(port, info);
	if (known >= 0) {
		*controller = info->controller;
		*pf = info->pf;
		for (i = 0; i < info->nb_ranges && i < cap; i++) {
			const struct rte_eth_representor_range *from = &info->ranges[i];

			memset(&ranges[i], 0, sizeof(ranges[i]));
			ranges[i].type = from->type;
			ranges[i].controller = from->controller;
			ranges[i].pf = from->pf;
			ranges[i].first_function = from->vf;
			ranges[i].id_base = from->id_base;
			ranges[i].id_end = from->id_end;
			memcpy(ranges[i].name, from->name, sizeof(from->name));
			ranges[i].name[sizeof(ranges[i].name) - 1] = '\0';
		}
		known = (int)info->nb_ranges;
	}
	free(info);
	return known;
}

/* --- flow items ---------------------------------------------------------------- */

uint32_t shim_flow_item_eth_has_vlan_bit(void)
{
	struct rte_flow_item_eth item;
	struct shim_flow_item_eth flat;

	memset(&item, 0, sizeof(item));
	item.has_vlan = 1;
	memcpy(&flat, &item, sizeof(flat));
	return flat.has_vlan;
}

uint32_t shim_flow_item_vlan_has_more_bit(void)
{
	struct rte_flow_item_vlan item;
	struct shim_flow_item_vlan flat;

	memset(&item, 0, sizeof(item));
	item.has_more_vlan = 1;
	memcpy(&flat, &item, sizeof(flat));
	return flat.has_more_vlan;
}

uint32_t shim_flow_item_ipv6_has_frag_bit(void)
{
	struct rte_flow_item_ipv6 item;
	struct shim_flow_item_ipv6 flat;

	memset(&item, 0, sizeof(item));
	item.has_frag_ext = 1;
	memcpy(&flat, &item, sizeof(flat));
	return flat.extensions;
}

const void *shim_flow_item_default_mask(uint32_t type)
{
	switch (type) {
	case RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR:
	case RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT:
		return &rte_flow_item_ethdev_mask;
	case RTE_FLOW_ITEM_TYPE_PORT_ID:
		return &rte_flow_item_port_id_mask;
	case RTE_FLOW_ITEM_TYPE_ETH:
		return &rte_flow_item_eth_mask;
	case RTE_FLOW_ITEM_TYPE_VLAN:
		return &rte_flow_item_vlan_mask;
	case RTE_FLOW_ITEM_TYPE_IPV4:
		return &rte_flow_item_ipv4_mask;
	case RTE_FLOW_ITEM_TYPE_IPV6:
		return &rte_flow_item_ipv6_mask;
	case RTE_FLOW_ITEM_TYPE_ICMP:
		return &rte_flow_item_icmp_mask;
	case RTE_FLOW_ITEM_TYPE_ICMP6:
		return &rte_flow_item_icmp6_mask;
	case RTE_FLOW_ITEM_TYPE_TCP:
		return &rte_flow_item_tcp_mask;
	case RTE_FLOW_ITEM_TYPE_UDP:
		return &rte_flow_item_udp_mask;
	case RTE_FLOW_ITEM_TYPE_VXLAN:
		return &rte_flow_item_vxlan_mask;
	case RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4:
		return &rte_flow_item_arp_eth_ipv4_mask;
	default:
		return NULL;
	}
}
