//! The software E-Switch as a DPDK driver: `net_eswitch`, a virtual device (vdev) whose ports are
//! the uplinks and the representors of one switch, with transfer rules through `rte_flow`.
//!
//! ```text
//!  application                                       the "hardware", one thread a device
//!  rx_burst  <-- copied into its mempool -- ring <-- miss --+
//!  tx_burst  --> past all rules ---------------------------------> backing
//!  rte_flow  --> decode --> soft_eswitch::Switch --> rules: hit ---> backing, zero-copy
//! ```
//!
//! # Using it
//!
//! A program that links the driver calls [`register`] before EAL starts. Other programs load
//! `libnet_eswitch.so` by EAL's `-d`; then it registers itself. EAL refuses a path below a directory
//! that all may write to: put the file elsewhere, or name it without a path and set `LD_LIBRARY_PATH`.
//!
//! `--vdev=net_eswitch0,vfs=2,representor=[0-1],backing=p0:af_packet:eth7+*:inject`
//!
//! | argument | values | default | meaning |
//! |---|---|---|---|
//! | `profile` | `full`, `portable` | `full` | all that the switch does, or what every supported card does |
//! | `uplinks` | 1 to 16 | 1 | physical ports: `p0`, `p1`, ... |
//! | `vfs` | 0 to 1024 | 0 | virtual functions behind each uplink: `pf0vf0`, ... |
//! | `hpf` | 0, 1 | 0 | whether the host's physical function is behind each uplink: `pf0hpf`, ... |
//! | `representor` | as DPDK has it: `1`, `[0,2-3]`, `vf1`, `pf0vf[0-3]`, `pf0` for the host's PF | none | functions that get an ethdev |
//! | `backing` | `<port>:null`, `<port>:inject`, `<port>:af_packet:<interface>`, `<port>:tap:<interface>`, `<port>:memif:<socket>`, `<port>:pcap:<in>:<out>`, `<port>:synth`, `<port>:synth:<words>`, joined by `+`; the port `*` is all that are not named | `null` | what is behind a port |
//! | `max_rules` | 1 to 2^24 | 65536 | rules that the switch holds |
//! | `buffers` | 64 to 2^20 | 16384 | packet buffers of the switch; memory is taken when one is first needed |
//! | `cache` | 2 to 2^24 | 8192 | entries of the exact-match cache |
//! | `faults` | words joined by `+`, see [`soft_eswitch::Faults`] | `none` | how unreliable the switch is |
//! | `control` | a path | none | a unix socket by which faults and sources are set and shown while it runs |
//!
//! Probing a device again with another `representor` (`rte_dev_probe`, testpmd's `port attach`, OVS's
//! `dpdk-devargs`) adds those ethdevs and changes nothing else.
//!
//! # Ports
//!
//! Every uplink is an ethdev, and every function whose representor was asked for. All are in one switch
//! domain. Their `switch_info.port_id` is the port's [`nic_flow::PortId`], as is the id of a representor;
//! the ranges of `rte_eth_representor_info_get` tell functions from ids, so that nobody parses names. Each
//! has one receive queue, with an interrupt, and up to 64 transmit queues. What waits on a function
//! without running representor is dropped and counted: nothing is forwarded by default.
//!
//! Backings:
//! * `null`: nothing comes, all is taken.
//! * `inject`: a test in the same process holds the far end, a [`Wire`].
//! * `af_packet`: an interface of the kernel, by a packet socket. VLAN tags that the kernel hides are put
//!   back; checksums and segmentation that the sender left to its card are done where a frame enters, as
//!   a card does, so rules count packets of the wire's size. Segmented tunnel packets, which the kernel
//!   does not describe to a packet socket, are dropped and counted. A port's MTU is its interface's until the
//!   application sets it; the interface keeps its own, and a frame that is too long for either is
//!   refused and counted.
//! * `tap`: the kernel's network stack, by a tap device that is made or attached to.
//! * `memif`: another process, by shared memory; this side is the server.
//! * `pcap`: frames come out of a capture file, once, from the port's first start on, and what leaves
//!   goes into another. Either may be left out.
//! * `synth`: a traffic source and sink, for measurements.
//!
//! # Rules
//!
//! Transfer rules of group 0 with any priority. Without a port item, the source is the port of creation.
//! The decoder's sources say which items and actions there are; all else is refused with the part at fault and a
//! reason. Rules belong to the port that created them: stopping it destroys them, and a stopped port
//! takes none. Flow calls may come from any thread at any time.
//!
//! **May know:** DPDK's headers for drivers, the switch's core (`soft-eswitch`), the flow IR. **May not know:**
//! the agent and its encoder (`nic-offload`): the decoder is written against rte_flow.h alone. Layer 2.
//! `unsafe` is in `ops`, `queues`, `decode::raw`, `backing::af_packet`, `backing::tap`,
//! `backing::interface`, `backing::memif`, the few calls to the C side, and `fuzzing`, which makes what those read.

mod args;
mod backing;
mod capture;
mod card;
mod control;
mod decode;
mod device;
mod ethdev;
mod ffi;
mod flow;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod ops;
mod port;
mod queues;
mod representors;
mod segment;
mod thread;
mod wire;

use std::sync::Once;

pub use wire::{Wire, WireError};

/// Makes the driver known to DPDK's vdev bus. To be called before EAL starts; a second call does
/// nothing.
pub fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the table lives for ever, and EAL's list of drivers is not yet walked by others.
        unsafe { ffi::nes_register(&raw const ops::CORE) };
    });
}

/// What the constructor of the loadable driver calls; see `shim/load.c`.
// SAFETY: the name is this driver's own.
#[unsafe(no_mangle)]
extern "C" fn net_eswitch_loaded() {
    register();
}
