/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include <rte_mbuf.h>

#include "net_eswitch_shim.h"

int nes_mbuf_fill(struct rte_mbuf *head, uint16_t port_id, const void *data, uint32_t length)
{
	struct rte_mbuf *last = head;
	const char *from = data;
	uint32_t left = length;

	head->port = port_id;
	head->ol_flags = 0;
	head->packet_type = 0;
	head->pkt_len = length;
	for (;;) {
		uint16_t part = (uint16_t)RTE_MIN(left, (uint32_t)rte_pktmbuf_tailroom(last));

		memcpy(rte_pktmbuf_mtod(last, char *), from, part);
		last->data_len = part;
		from += part;
		left -= part;
		if (left == 0)
			return 0;
		last->next = part == 0 ? NULL : rte_pktmbuf_alloc(head->pool);
		if (last->next == NULL)
			return -ENOMEM;
		last = last->next;
		head->nb_segs++;
	}
}

uint16_t nes_mbuf_segments(struct rte_mbuf *mbuf, struct nes_segment *out, uint16_t cap)
{
	uint16_t n = 0;

	for (; mbuf != NULL; mbuf = mbuf->next) {
		if (n == cap)
			return 0;
		out[n].data = rte_pktmbuf_mtod(mbuf, void *);
		out[n].length = mbuf->data_len;
		n++;
	}
	return n;
}
