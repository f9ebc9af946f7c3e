/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of net_eswitch: what DPDK's driver headers ask for in structs
 * whose layout differs between DPDK releases (rte_eth_dev, eth_dev_ops,
 * rte_flow_ops, rte_mbuf).  The driver's behaviour is in Rust; C calls it by
 * `struct nes_core`, and every struct that crosses is one of ours.
 */
#ifndef NET_ESWITCH_SHIM_H
#define NET_ESWITCH_SHIM_H

#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_flow;
struct rte_flow_attr;
struct rte_flow_item;
struct rte_flow_action;
struct rte_flow_error;

/* What rte_eth_dev_info_get tells of a port beyond what is the same for all. */
struct nes_info {
	uint32_t if_index;
	uint32_t max_frame;
	uint32_t max_mac_addrs;
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t max_descriptors;
	uint16_t default_descriptors;
	uint16_t switch_domain;
	uint16_t switch_port;
};

struct nes_stats {
	uint64_t rx_packets;
	uint64_t rx_bytes;
	uint64_t tx_packets;
	uint64_t tx_bytes;
	uint64_t rx_missed;
	uint64_t rx_errors;
	uint64_t tx_errors;
	uint64_t rx_nombuf;
};

/* One range of rte_eth_representor_info. */
struct nes_range {
	uint32_t id_base;
	uint32_t id_end;
	uint16_t pf;
	uint8_t is_pf;             /* 1: host PFs from `pf` on; 0: VFs 0.. of `pf` */
	char name[32];
};

/* What an application asked for in representor=..., as rte_eth_devargs_parse reads it. */
#define NES_MAX_LIST 64
enum { NES_REPRESENTOR_NONE, NES_REPRESENTOR_VF, NES_REPRESENTOR_SF, NES_REPRESENTOR_PF };
struct nes_representors {
	uint32_t type;
	uint16_t controllers[NES_MAX_LIST];
	uint16_t n_controllers;
	uint16_t pfs[NES_MAX_LIST];
	uint16_t n_pfs;
	uint16_t functions[NES_MAX_LIST];
	uint16_t n_functions;
};

struct nes_new_port {
	void *vdev;                /* as given to probe */
	const char *name;
	void *private_data;        /* what all port calls get back */
	int rx_event_fd;
	uint16_t representor;      /* 1 if a representor */
	uint16_t representor_id;
	uint16_t backer_port;
	uint16_t mtu;
	uint8_t mac[6];
};

struct nes_segment {
	void *data;
	uintptr_t length;
};

/* The driver's behaviour.  A negative result is -errno. */
struct nes_core {
	int (*probe)(void *vdev, const char *name, const char *args);
	int (*remove)(const char *name);
	void (*rescan)(const char *name, const char *args);

	int (*start)(void *port);
	void (*stop)(void *port);
	void (*close)(void *port);
	void (*info)(void *port, struct nes_info *out);
	uint32_t (*ranges)(void *port, uint16_t *pf, struct nes_range *out, uint32_t cap);
	int (*link_up)(void *port);
	void (*stats)(void *port, struct nes_stats *out);
	void (*stats_reset)(void *port);
	uint32_t (*xstats_count)(void *port);
	void (*xstats_name)(void *port, uint32_t index, char *name, uint32_t size);
	uint64_t (*xstats_value)(void *port, uint32_t index);
	int (*mtu_set)(void *port, uint16_t mtu);

	int (*rx_queue_setup)(void *port, uint16_t descriptors, struct rte_mempool *pool,
			      uint16_t port_id, uint8_t scatter, void **queue);
	void (*rx_queue_release)(void *queue);
	int (*tx_queue_setup)(void *port, void **queue);
	void (*tx_queue_release)(void *queue);
	int (*rx_interrupt)(void *port, int enable);
	uint16_t (*rx_burst)(void *queue, struct rte_mbuf **mbufs, uint16_t n);
	uint16_t (*tx_burst)(void *queue, struct rte_mbuf **mbufs, uint16_t n);

	int (*flow_validate)(void *port, const struct rte_flow_attr *attr,
			     const struct rte_flow_item *pattern,
			     const struct rte_flow_action *actions, struct rte_flow_error *error);
	struct rte_flow *(*flow_create)(void *port, const struct rte_flow_attr *attr,
					const struct rte_flow_item *pattern,
					const struct rte_flow_action *actions,
					struct rte_flow_error *error);
	int (*flow_destroy)(void *port, struct rte_flow *flow, struct rte_flow_error *error);
	int (*flow_flush)(void *port, struct rte_flow_error *error);
	int (*flow_query)(void *port, struct rte_flow *flow, const struct rte_flow_action *action,
			  void *data, struct rte_flow_error *error);
};

/* Registers the driver on the vdev bus.  `core` must live for ever. */
void nes_register(const struct nes_core *core);
/* While at least one device is there, C looks for repeated probes of it. */
int nes_watch(void);
void nes_unwatch(void);

int nes_switch_domain_alloc(uint16_t *domain);
void nes_switch_domain_free(uint16_t domain);
int nes_parse_representors(const char *args, struct nes_representors *out);

/* Makes an ethdev; gives its port id or -errno. */
int nes_port_create(const struct nes_new_port *port);
/* The application may see the port from now on. */
void nes_port_ready(uint16_t port_id);
/* Closes a port and gives its slot back, unless the application did so. */
void nes_port_destroy(uint16_t port_id, void *private_data);
/* The private data of a port of this driver, NULL for all other ports. */
void *nes_port_private(uint16_t port_id);
/* Writes an error to EAL's log. */
void nes_log(const char *text);

/* Copies a frame into `head`, with more segments of its pool if it must: 0 or -ENOMEM. */
int nes_mbuf_fill(struct rte_mbuf *head, uint16_t port_id, const void *data, uint32_t length);
/* The segments of a packet: their number, or 0 if they are more than `cap`. */
uint16_t nes_mbuf_segments(struct rte_mbuf *mbuf, struct nes_segment *out, uint16_t cap);

#endif /* NET_ESWITCH_SHIM_H */
