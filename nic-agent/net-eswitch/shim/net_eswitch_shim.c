/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <rte_devargs.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_flow_driver.h>
#include <rte_interrupts.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_version.h>

#include <bus_vdev_driver.h>
#include <dev_driver.h>
#include <ethdev_driver.h>
#include <ethdev_vdev.h>

#include "net_eswitch_shim.h"

#define DRIVER_NAME net_eswitch

static const struct nes_core *core;
static int logtype;

void nes_log(const char *text)
{
	rte_log(RTE_LOG_ERR, logtype, "net_eswitch: %s\n", text);
}

/* --- ethdev operations --------------------------------------------------------- */

static void *port_of(struct rte_eth_dev *dev)
{
	return dev->data->dev_private;
}

static int op_configure(struct rte_eth_dev *dev)
{
	RTE_SET_USED(dev);
	return 0;
}

static int op_start(struct rte_eth_dev *dev)
{
	/* rte_eth_dev_configure sets an MTU without a word to the driver. */
	int ret = core->mtu_set(port_of(dev), dev->data->mtu);
	uint16_t i;

	if (ret == 0)
		ret = core->start(port_of(dev));
	if (ret != 0)
		return ret;
	for (i = 0; i < dev->data->nb_rx_queues; i++)
		dev->data->rx_queue_state[i] = RTE_ETH_QUEUE_STATE_STARTED;
	for (i = 0; i < dev->data->nb_tx_queues; i++)
		dev->data->tx_queue_state[i] = RTE_ETH_QUEUE_STATE_STARTED;
	return 0;
}

static int op_stop(struct rte_eth_dev *dev)
{
	uint16_t i;

	core->stop(port_of(dev));
	for (i = 0; i < dev->data->nb_rx_queues; i++)
		dev->data->rx_queue_state[i] = RTE_ETH_QUEUE_STATE_STOPPED;
	for (i = 0; i < dev->data->nb_tx_queues; i++)
		dev->data->tx_queue_state[i] = RTE_ETH_QUEUE_STATE_STOPPED;
	return 0;
}

static void op_rx_queue_release(struct rte_eth_dev *dev, uint16_t queue)
{
	if (dev->data->rx_queues[queue] != NULL)
		core->rx_queue_release(dev->data->rx_queues[queue]);
	dev->data->rx_queues[queue] = NULL;
}

static void op_tx_queue_release(struct rte_eth_dev *dev, uint16_t queue)
{
	if (dev->data->tx_queues[queue] != NULL)
		core->tx_queue_release(dev->data->tx_queues[queue]);
	dev->data->tx_queues[queue] = NULL;
}

static void free_interrupts(struct rte_eth_dev *dev)
{
	if (dev->intr_handle == NULL)
		return;
	rte_intr_free_epoll_fd(dev->intr_handle);
	rte_intr_vec_list_free(dev->intr_handle);
	rte_intr_instance_free(dev->intr_handle);
	dev->intr_handle = NULL;
}

static int op_close(struct rte_eth_dev *dev)
{
	void *port = port_of(dev);
	uint16_t i;

	if (rte_eal_process_type() != RTE_PROC_PRIMARY || port == NULL)
		return 0;
	for (i = 0; i < dev->data->nb_rx_queues; i++)
		op_rx_queue_release(dev, i);
	for (i = 0; i < dev->data->nb_tx_queues; i++)
		op_tx_queue_release(dev, i);
	free_interrupts(dev);
	/* Rust's, not rte_malloc's: ethdev must not free it. */
	dev->data->dev_private = NULL;
	core->close(port);
	return 0;
}

static int op_info(struct rte_eth_dev *dev, struct rte_eth_dev_info *info)
{
	struct nes_info ours;

	memset(&ours, 0, sizeof(ours));
	core->info(port_of(dev), &ours);
	info->if_index = ours.if_index;
	info->max_mac_addrs = ours.max_mac_addrs;
	info->max_rx_pktlen = ours.max_frame;
	info->min_mtu = ours.min_mtu;
	info->max_mtu = ours.max_mtu;
	info->max_rx_queues = ours.max_rx_queues;
	info->max_tx_queues = ours.max_tx_queues;
	info->rx_desc_lim.nb_max = ours.max_descriptors;
	info->tx_desc_lim.nb_max = ours.max_descriptors;
	info->rx_desc_lim.nb_min = 1;
	info->tx_desc_lim.nb_min = 1;
	info->default_rxportconf.ring_size = ours.default_descriptors;
	info->default_txportconf.ring_size = ours.default_descriptors;
	info->default_rxportconf.nb_queues = 1;
	info->default_txportconf.nb_queues = 1;
	info->default_rxportconf.burst_size = 32;
	info->default_txportconf.burst_size = 32;
	info->rx_offload_capa = RTE_ETH_RX_OFFLOAD_SCATTER;
	info->tx_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	info->switch_info.name = dev->device->name;
	info->switch_info.domain_id = ours.switch_domain;
	info->switch_info.port_id = ours.switch_port;
	return 0;
}

static int op_link_update(struct rte_eth_dev *dev, int wait)
{
	struct rte_eth_link link;

	RTE_SET_USED(wait);
	memset(&link, 0, sizeof(link));
	link.link_speed = RTE_ETH_SPEED_NUM_10G;
	link.link_duplex = RTE_ETH_LINK_FULL_DUPLEX;
	link.link_autoneg = RTE_ETH_LINK_FIXED;
	link.link_status = core->link_up(port_of(dev)) ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN;
	return rte_eth_linkstatus_set(dev, &link);
}

static int op_stats(struct rte_eth_dev *dev, struct rte_eth_stats *stats)
{
	struct nes_stats ours;

	memset(&ours, 0, sizeof(ours));
	core->stats(port_of(dev), &ours);
	stats->ipackets = ours.rx_packets;
	stats->ibytes = ours.rx_bytes;
	stats->opackets = ours.tx_packets;
	stats->obytes = ours.tx_bytes;
	stats->imissed = ours.rx_missed;
	stats->ierrors = ours.rx_errors;
	stats->oerrors = ours.tx_errors;
	stats->rx_nombuf = ours.rx_nombuf;
	return 0;
}

static int op_stats_reset(struct rte_eth_dev *dev)
{
	core->stats_reset(port_of(dev));
	return 0;
}

static int op_xstats(struct rte_eth_dev *dev, struct rte_eth_xstat *out, unsigned int n)
{
	uint32_t count = core->xstats_count(port_of(dev));
	uint32_t i;

	if (out == NULL || n < count)
		return (int)count;
	for (i = 0; i < count; i++) {
		out[i].id = i;
		out[i].value = core->xstats_value(port_of(dev), i);
	}
	return (int)count;
}

static int op_xstats_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *out,
			   unsigned int n)
{
	uint32_t count = core->xstats_count(port_of(dev));
	uint32_t i;

	if (out == NULL || n < count)
		return (int)count;
	for (i = 0; i < count; i++)
		core->xstats_name(port_of(dev), i, out[i].name, sizeof(out[i].name));
	return (int)count;
}

static int op_mtu_set(struct rte_eth_dev *dev, uint16_t mtu)
{
	return core->mtu_set(port_of(dev), mtu);
}

/* A representor sees whatever its function sent: there is no filter to set. */
static int op_accept(struct rte_eth_dev *dev)
{
	RTE_SET_USED(dev);
	return 0;
}

static int op_mac_set(struct rte_eth_dev *dev, struct rte_ether_addr *mac)
{
	RTE_SET_USED(dev);
	RTE_SET_USED(mac);
	return 0;
}

static int op_rx_queue_setup(struct rte_eth_dev *dev, uint16_t queue, uint16_t descriptors,
			     unsigned int socket, const struct rte_eth_rxconf *conf,
			     struct rte_mempool *pool)
{
	uint64_t offloads = dev->data->dev_conf.rxmode.offloads | conf->offloads;

	RTE_SET_USED(socket);
	if (queue != 0 || pool == NULL)
		return -EINVAL;
	return core->rx_queue_setup(port_of(dev), descriptors, pool, dev->data->port_id,
				    (offloads & RTE_ETH_RX_OFFLOAD_SCATTER) != 0,
				    &dev->data->rx_queues[queue]);
}

static int op_tx_queue_setup(struct rte_eth_dev *dev, uint16_t queue, uint16_t descriptors,
			     unsigned int socket, const struct rte_eth_txconf *conf)
{
	RTE_SET_USED(descriptors);
	RTE_SET_USED(socket);
	RTE_SET_USED(conf);
	return core->tx_queue_setup(port_of(dev), &dev->data->tx_queues[queue]);
}

static int op_rx_interrupt_enable(struct rte_eth_dev *dev, uint16_t queue)
{
	RTE_SET_USED(queue);
	return core->rx_interrupt(port_of(dev), 1);
}

static int op_rx_interrupt_disable(struct rte_eth_dev *dev, uint16_t queue)
{
	RTE_SET_USED(queue);
	return core->rx_interrupt(port_of(dev), 0);
}

#define MAX_RANGES 64

static int op_representor_info(struct rte_eth_dev *dev, struct rte_eth_representor_info *info)
{
	struct nes_range ranges[MAX_RANGES];
	uint16_t pf = 0;
	uint32_t count, i;

	memset(ranges, 0, sizeof(ranges));
	count = core->ranges(port_of(dev), &pf, ranges, MAX_RANGES);
	if (info == NULL)
		return (int)count;
	info->controller = 0;
	info->pf = pf;
	info->nb_ranges = 0;
	for (i = 0; i < count && i < info->nb_ranges_alloc; i++) {
		struct rte_eth_representor_range *to = &info->ranges[i];

		memset(to, 0, sizeof(*to));
		to->type = ranges[i].is_pf ? RTE_ETH_REPRESENTOR_PF : RTE_ETH_REPRESENTOR_VF;
		to->controller = 0;
		to->pf = ranges[i].pf;
		to->id_base = ranges[i].id_base;
		to->id_end = ranges[i].id_end;
		memcpy(to->name, ranges[i].name, sizeof(ranges[i].name));
		info->nb_ranges++;
	}
	return (int)count;
}

/* --- rte_flow ---------------------------------------------------------------------- */

static int flow_validate(struct rte_eth_dev *dev, const struct rte_flow_attr *attr,
			 const struct rte_flow_item pattern[],
			 const struct rte_flow_action actions[], struct rte_flow_error *error)
{
	return core->flow_validate(port_of(dev), attr, pattern, actions, error);
}

static struct rte_flow *flow_create(struct rte_eth_dev *dev, const struct rte_flow_attr *attr,
				    const struct rte_flow_item pattern[],
				    const struct rte_flow_action actions[],
				    struct rte_flow_error *error)
{
	return core->flow_create(port_of(dev), attr, pattern, actions, error);
}

static int flow_destroy(struct rte_eth_dev *dev, struct rte_flow *flow,
			struct rte_flow_error *error)
{
	return core->flow_destroy(port_of(dev), flow, error);
}

static int flow_flush(struct rte_eth_dev *dev, struct rte_flow_error *error)
{
	return core->flow_flush(port_of(dev), error);
}

static int flow_query(struct rte_eth_dev *dev, struct rte_flow *flow,
		      const struct rte_flow_action *action, void *data,
		      struct rte_flow_error *error)
{
	return core->flow_query(port_of(dev), flow, action, data, error);
}

static const struct rte_flow_ops flow_ops = {
	.validate = flow_validate,
	.create = flow_create,
	.destroy = flow_destroy,
	.flush = flow_flush,
	.query = flow_query,
};

static int op_flow_ops(struct rte_eth_dev *dev, const struct rte_flow_ops **ops)
{
	RTE_SET_USED(dev);
	*ops = &flow_ops;
	return 0;
}

static const struct eth_dev_ops dev_ops = {
	.dev_configure = op_configure,
	.dev_start = op_start,
	.dev_stop = op_stop,
	.dev_close = op_close,
	.dev_infos_get = op_info,
	.link_update = op_link_update,
	.promiscuous_enable = op_accept,
	.promiscuous_disable = op_accept,
	.allmulticast_enable = op_accept,
	.allmulticast_disable = op_accept,
	.mac_addr_set = op_mac_set,
	.mtu_set = op_mtu_set,
	.stats_get = op_stats,
	.stats_reset = op_stats_reset,
	.xstats_get = op_xstats,
	.xstats_get_names = op_xstats_names,
	.xstats_reset = op_stats_reset,
	.rx_queue_setup = op_rx_queue_setup,
	.rx_queue_release = op_rx_queue_release,
	.tx_queue_setup = op_tx_queue_setup,
	.tx_queue_release = op_tx_queue_release,
	.rx_queue_intr_enable = op_rx_interrupt_enable,
	.rx_queue_intr_disable = op_rx_interrupt_disable,
	.flow_ops_get = op_flow_ops,
	.representor_info_get = op_representor_info,
};

/* --- making and finding ports --------------------------------------------------------- */

/* One Rx queue, one event descriptor: what rte_eth_dev_rx_intr_ctl_q_get_fd reads. */
static struct rte_intr_handle *make_interrupts(const char *name, int fd)
{
	struct rte_intr_handle *handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);

	if (handle == NULL)
		return NULL;
	if (rte_intr_type_set(handle, RTE_INTR_HANDLE_VDEV) == 0 &&
	    rte_intr_fd_set(handle, -1) == 0 &&
	    rte_intr_nb_efd_set(handle, 1) == 0 &&
	    rte_intr_max_intr_set(handle, 2) == 0 &&
	    rte_intr_efd_counter_size_set(handle, sizeof(uint64_t)) == 0 &&
	    rte_intr_efds_index_set(handle, 0, fd) == 0 &&
	    rte_intr_vec_list_alloc(handle, name, 1) == 0 &&
	    rte_intr_vec_list_index_set(handle, 0, RTE_INTR_VEC_RXTX_OFFSET) == 0)
		return handle;
	rte_intr_vec_list_free(handle);
	rte_intr_instance_free(handle);
	return NULL;
}

int nes_port_create(const struct nes_new_port *new_port)
{
	struct rte_vdev_device *vdev = new_port->vdev;
	struct rte_eth_dev *dev = rte_eth_dev_allocate(new_port->name);
	struct rte_eth_dev_data *data;

	if (dev == NULL)
		return -ENOSPC;
	if (vdev->device.numa_node == SOCKET_ID_ANY)
		vdev->device.numa_node = (int)rte_socket_id();
	data = dev->data;
	dev->device = &vdev->device;
	dev->intr_handle = make_interrupts(new_port->name, new_port->rx_event_fd);
	data->numa_node = vdev->device.numa_node;
	data->mac_addrs = rte_zmalloc(new_port->name, sizeof(*data->mac_addrs), 0);
	if (data->mac_addrs == NULL || dev->intr_handle == NULL) {
		free_interrupts(dev);
		rte_eth_dev_release_port(dev);
		return -ENOMEM;
	}
	memcpy(data->mac_addrs->addr_bytes, new_port->mac, sizeof(new_port->mac));
	data->mtu = new_port->mtu;
	data->dev_link.link_speed = RTE_ETH_SPEED_NUM_10G;
	data->dev_link.link_duplex = RTE_ETH_LINK_FULL_DUPLEX;
	data->promiscuous = 1;
	data->all_multicast = 1;
	data->dev_flags |= RTE_ETH_DEV_FLOW_OPS_THREAD_SAFE;
	if (new_port->representor) {
		data->dev_flags |= RTE_ETH_DEV_REPRESENTOR;
		data->representor_id = new_port->representor_id;
		data->backer_port_id = new_port->backer_port;
	}
	dev->dev_ops = &dev_ops;
	dev->rx_pkt_burst = core->rx_burst;
	dev->tx_pkt_burst = core->tx_burst;
	data->dev_private = new_port->private_data;
	return data->port_id;
}

void nes_port_ready(uint16_t port_id)
{
	rte_eth_dev_probing_finish(&rte_eth_devices[port_id]);
}

static struct rte_eth_dev *device_of(uint16_t port_id)
{
	struct rte_eth_dev *dev;

	if (port_id >= RTE_MAX_ETHPORTS)
		return NULL;
	dev = &rte_eth_devices[port_id];
	return dev->state != RTE_ETH_DEV_UNUSED && dev->dev_ops == &dev_ops ? dev : NULL;
}

void nes_port_destroy(uint16_t port_id, void *private_data)
{
	struct rte_eth_dev *dev = device_of(port_id);

	/* An application that closed the port may have given its slot to another. */
	if (dev == NULL || dev->data->dev_private != private_data)
		return;
	if (dev->data->dev_started)
		rte_eth_dev_stop(port_id);
	op_close(dev);
	rte_eth_dev_release_port(dev);
}

void *nes_port_private(uint16_t port_id)
{
	struct rte_eth_dev *dev = device_of(port_id);

	return dev == NULL ? NULL : dev->data->dev_private;
}

int nes_switch_domain_alloc(uint16_t *domain)
{
	return rte_eth_switch_domain_alloc(domain);
}

void nes_switch_domain_free(uint16_t domain)
{
	rte_eth_switch_domain_free(domain);
}

static uint16_t copy_list(uint16_t *to, const uint16_t *from, uint16_t n)
{
	n = RTE_MIN(n, NES_MAX_LIST);
	memcpy(to, from, n * sizeof(*to));
	return n;
}

int nes_parse_representors(const char *args, struct nes_representors *out)
{
	struct rte_eth_devargs parsed;
	int ret;

	memset(out, 0, sizeof(*out));
	memset(&parsed, 0, sizeof(parsed));
#if RTE_VERSION >= RTE_VERSION_NUM(24, 3, 0, 0)
	ret = rte_eth_devargs_parse(args, &parsed, 1);
#else
	ret = rte_eth_devargs_parse(args, &parsed);
#endif
	if (ret < 0)
		return -EINVAL;
	switch (parsed.type) {
	case RTE_ETH_REPRESENTOR_NONE:
		out->type = NES_REPRESENTOR_NONE;
		break;
	case RTE_ETH_REPRESENTOR_VF:
		out->type = NES_REPRESENTOR_VF;
		break;
	case RTE_ETH_REPRESENTOR_PF:
		out->type = NES_REPRESENTOR_PF;
		break;
	default:
		out->type = NES_REPRESENTOR_SF;
		break;
	}
	out->n_controllers = copy_list(out->controllers, parsed.mh_controllers,
				       parsed.nb_mh_controllers);
	out->n_pfs = copy_list(out->pfs, parsed.ports, parsed.nb_ports);
	out->n_functions = copy_list(out->functions, parsed.representor_ports,
				     parsed.nb_representor_ports);
	return 0;
}

/* --- the driver on its bus ------------------------------------------------------------- */

static int bus_probe(struct rte_vdev_device *vdev)
{
	const char *args = rte_vdev_device_args(vdev);

	if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
		nes_log("a secondary process cannot use a software E-Switch");
		return -ENOTSUP;
	}
	return core->probe(vdev, rte_vdev_device_name(vdev), args == NULL ? "" : args);
}

static int bus_remove(struct rte_vdev_device *vdev)
{
	return core->remove(rte_vdev_device_name(vdev));
}

static struct rte_vdev_driver driver = {
	.probe = bus_probe,
	.remove = bus_remove,
};

/*
 * The vdev bus never probes a device twice.  But it scans before it refuses, and
 * by then EAL has put the new arguments in place: that is how a repeated probe
 * with other representors (rte_dev_probe, OVS's dpdk-devargs) is seen.
 */
static void rescan(void *unused)
{
	struct rte_devargs *devargs;

	RTE_SET_USED(unused);
	RTE_EAL_DEVARGS_FOREACH("vdev", devargs) {
		if (strncmp(devargs->name, RTE_STR(DRIVER_NAME), strlen(RTE_STR(DRIVER_NAME))) == 0)
			core->rescan(devargs->name, devargs->args == NULL ? "" : devargs->args);
	}
}

int nes_watch(void)
{
	return rte_vdev_add_custom_scan(rescan, NULL);
}

void nes_unwatch(void)
{
	rte_vdev_remove_custom_scan(rescan, NULL);
}

void nes_register(const struct nes_core *rust)
{
	core = rust;
	logtype = rte_log_register_type_and_pick_level("pmd.net.eswitch", RTE_LOG_NOTICE);
	if (logtype < 0)
		logtype = RTE_LOGTYPE_USER1;
	driver.driver.name = RTE_STR(DRIVER_NAME);
	rte_vdev_register(&driver);
}
