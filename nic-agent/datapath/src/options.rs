//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use nic_flow::PortId;
use nic_flow::port::ParsePortError;

use crate::management::Settings;

/// Owns the card's E-Switch: forwards the first packets of flows, puts flows into the E-Switch, and
/// serves nic.datapath.v1 to nic-agent on a unix socket. It has no network listener.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// The unix socket for nic-agent.
    #[arg(long, default_value = "/run/nic-agent/datapath.sock", value_name = "PATH")]
    pub(crate) listen: PathBuf,

    /// The socket's mode, in octal: only this process's user can open it, or with 0660 its group, too.
    /// Whoever can open it says what the policy is.
    #[arg(long, default_value = "0600", value_parser = socket_mode, value_name = "MODE")]
    pub(crate) listen_mode: u32,

    /// The directory for the policy in force, by which a restart begins; made with mode 0700 if it is not
    /// there. No two processes can share one.
    #[arg(long, default_value = "/var/lib/nic-datapath", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,

    /// A virtual device for DPDK, such as net_eswitch0,vfs=2,...; may be given more than once.
    #[arg(long, value_name = "DEVARGS")]
    pub(crate) vdev: Vec<String>,

    /// A PCI device for DPDK, such as 0000:03:00.0,representor=vf[0-7]; no other is touched then. May be
    /// given more than once.
    #[arg(long, value_name = "DEVARGS")]
    pub(crate) pci: Vec<String>,

    /// Run on ordinary memory in place of hugepages, and without looking for PCI devices.
    #[arg(long)]
    pub(crate) no_hardware: bool,

    /// One more argument for DPDK's EAL; may be given more than once.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) eal_arg: Vec<String>,

    /// Tells this process's DPDK files from those of others.
    #[arg(long, default_value = "nic-datapath", value_name = "PREFIX")]
    pub(crate) file_prefix: String,

    /// The CPU that the worker is bound to; any, if not given.
    #[arg(long, value_name = "CPU")]
    pub(crate) worker_cpu: Option<usize>,

    /// The worker never sleeps: the lowest latency, for a CPU of its own.
    #[arg(long)]
    pub(crate) busy_poll: bool,

    /// Sets the MTU of a port, such as p0=1600: frames with tunnels around them are longer than those in
    /// them. May be given more than once; other ports keep their device's.
    #[arg(long, value_name = "PORT=OCTETS", value_parser = port_mtu)]
    pub(crate) mtu: Vec<(PortId, u16)>,

    /// Reaches the card's own kernel in band, through an uplink, as p0,name=mgmt0,vlan=7: words are name=,
    /// mac=, vlan= and rate=. Makes that interface (mgmt0) with an address of its own, by default one beside
    /// the uplink's. What comes in at the uplink for it, untagged or in that VLAN, is its own, and no policy
    /// changes that; at most so many frames a second in each direction (20000). IP addresses are given to
    /// it, and it is brought up, by somebody else.
    #[arg(long, value_name = "PORT[,...]", value_parser = Settings::parse)]
    pub(crate) management: Option<Settings>,

    /// Packet buffers. Each port's two queues get a share of them, 1024 at most, less than 64 is refused: no
    /// port can use up the buffers of another.
    #[arg(long, default_value_t = 16_383, value_name = "N", value_parser = clap::value_parser!(u32).range(1023..=1_048_575))]
    pub(crate) mbufs: u32,

    /// Megaflows in the software cache, at most. Further flows are forwarded without being cached.
    #[arg(long, default_value_t = 65_536, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=4_194_304))]
    pub(crate) max_flows: u32,

    /// Rules in the E-Switch, at most.
    #[arg(long, default_value_t = 65_536, value_name = "N")]
    pub(crate) max_rules: u32,

    /// A flow without packets for so long is removed, in milliseconds.
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    pub(crate) idle_timeout_ms: u64,

    /// Counters of the E-Switch are read once in this time, in milliseconds.
    #[arg(long, default_value_t = 500, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) counter_interval_ms: u64,

    /// MAC addresses that bridges learn, at most, all together.
    #[arg(long, default_value_t = 65_536, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=4_194_304))]
    pub(crate) max_fdb_entries: u32,

    /// A tunnel's next hop that does not answer is asked again after so long, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) neighbor_interval_ms: u64,

    /// Questions without an answer after which a next hop is given up.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) neighbor_tries: u32,

    /// An answer holds for so long, in milliseconds; a next hop in use is asked again before that.
    #[arg(long, default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    pub(crate) neighbor_reachable_ms: u64,

    /// A next hop that was given up is not asked again for so long, in milliseconds; packets to it are
    /// dropped meanwhile.
    #[arg(long, default_value_t = 5_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub(crate) neighbor_failed_ms: u64,

    /// Packets that wait for addresses of next hops, at most, all together; each holds a packet buffer.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_waiting: u32,

    /// Keep every flow in software.
    #[arg(long)]
    pub(crate) no_offload: bool,

    /// Write every frame that the slow path receives into this file, as pcapng. Slows it down.
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,

    /// Write the log as JSON, one object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

fn port_mtu(text: &str) -> Result<(PortId, u16), MtuError> {
    let (port, octets) = text.split_once('=').ok_or(MtuError::Form)?;
    let octets = octets.parse().ok().filter(|octets| (68..=16_384).contains(octets));
    Ok((port.parse()?, octets.ok_or(MtuError::Octets)?))
}

fn socket_mode(text: &str) -> Result<u32, ModeError> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ (0o600 | 0o660)) => Ok(mode),
        _ => Err(ModeError),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it must be 0600 or 0660")]
struct ModeError;

#[derive(Debug, thiserror::Error)]
enum MtuError {
    #[error("it must be PORT=OCTETS")]
    Form,
    #[error(transparent)]
    Port(#[from] ParsePortError),
    #[error("an MTU is 68 to 16384")]
    Octets,
}

impl Options {
    /// See [`Options::idle_timeout_ms`].
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// See [`Options::counter_interval_ms`].
    pub(crate) fn counter_interval(&self) -> Duration {
        Duration::from_millis(self.counter_interval_ms)
    }

    /// EAL's command line.
    pub(crate) fn eal(&self) -> dpdk::EalArgs {
        let mut args = if self.no_hardware {
            // Ordinary memory is reserved at start, and 64 MB are not enough for the buffers.
            let longest = self.mtu.iter().map(|&(_, mtu)| u32::from(mtu)).max().unwrap_or(0);
            let megabytes = 128 + self.mbufs / 1024 * longest.div_ceil(512).max(8);
            dpdk::EalArgs::without_hardware("nic-datapath", &self.file_prefix).memory_mb(megabytes)
        } else {
            dpdk::EalArgs::new("nic-datapath").no_telemetry().file_prefix(&self.file_prefix)
        };
        for devargs in &self.vdev {
            args = args.vdev(devargs);
        }
        for devargs in &self.pci {
            args = args.allow_pci(devargs);
        }
        for arg in &self.eal_arg {
            args = args.arg(arg);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_user_and_group_can_be_given_the_socket() {
        assert_eq!(socket_mode("0600").ok(), Some(0o600));
        assert_eq!(socket_mode("660").ok(), Some(0o660));
        for text in ["0666", "0777", "0640", "", "8", "rw"] {
            assert!(socket_mode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_mtu_is_of_a_port() {
        let uplink = PortId::uplink(0).expect("a port");
        assert_eq!(port_mtu("p0=1600").ok(), Some((uplink, 1600)));
        for (text, why) in [
            ("1600", "it must be PORT=OCTETS"),
            ("p0=", "an MTU is 68 to 16384"),
            ("p0=67", "an MTU is 68 to 16384"),
            ("p0=16385", "an MTU is 68 to 16384"),
        ] {
            assert_eq!(port_mtu(text).expect_err(text).to_string(), why);
        }
        assert!(matches!(port_mtu("eth0=1600"), Err(MtuError::Port(_))));
    }
}
