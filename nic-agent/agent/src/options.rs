//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// The control plane on the card: serves nic.v1, keeps the configuration, and tells nic-datapath the
/// policy. It has no hardware privileges and may be stopped at any time: nic-datapath goes on.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Where nic.v1 is served: unix:/path, or the address of a loopback interface with a port. May be
    /// given more than once.
    #[arg(long, default_value = "unix:/run/nic-agent/agent.sock", value_name = "ADDRESS")]
    pub(crate) listen: Vec<Address>,

    /// Where Prometheus metrics are served, at /metrics: unix:/path, or the address of a loopback interface
    /// with a port. Without it they are not served.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<Address>,

    /// nic-datapath's socket.
    #[arg(long, default_value = "/run/nic-agent/datapath.sock", value_name = "PATH")]
    pub(crate) datapath: PathBuf,

    /// The folder of the store.
    #[arg(long, default_value = "/var/lib/nic-agent", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,

    /// The folder that names the card's slots, as its image lays it out. Without it the card's software
    /// cannot be updated through the API.
    #[arg(long, value_name = "DIR")]
    pub(crate) slots: Option<PathBuf>,

    /// Become the nic-agent that was installed alone, if there is one that goes with the image: for the image's
    /// own program, at its start.
    #[arg(long, requires = "slots", conflicts_with = "launched")]
    pub(crate) launch: bool,

    /// The version of this program, if it is not the image's own: for --launch, which adds it.
    #[arg(long, hide = true, requires = "slots", value_name = "VERSION")]
    pub(crate) launched: Option<nic_update::Version>,

    /// The file that appears when the card shall reboot; a unit of the image watches it.
    #[arg(long, default_value = "/run/nic-agent/reboot", value_name = "PATH")]
    pub(crate) reboot_request: PathBuf,

    /// The network interface of the management path. A new version must have it up to prove itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) management_interface: Option<String>,

    /// The folder in which the image notes what a boot found wrong: it becomes alarms.
    #[arg(long, value_name = "DIR")]
    pub(crate) boot_notes: Option<PathBuf>,

    /// Replace the policy that nic-datapath has, even if it came from another store or is newer.
    #[arg(long)]
    pub(crate) adopt: bool,

    /// Write the log as JSON, one object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port of a loopback interface.
    Loopback(std::net::SocketAddr),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Loopback(address) => address.fmt(f),
        }
    }
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("write unix:/absolute/path, or 127.0.0.1:port, or [::1]:port")]
    Form,
    #[error("{0} is not a loopback address; without transport security no other is served")]
    NotLoopback(std::net::IpAddr),
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Address::Unix(path.into()))
            } else {
                Err(AddressError::Form)
            };
        }
        let address: std::net::SocketAddr = text.parse().map_err(|_| AddressError::Form)?;
        if address.ip().is_loopback() {
            Ok(Address::Loopback(address))
        } else {
            Err(AddressError::NotLoopback(address.ip()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unix_sockets_and_loopback_are_served() {
        assert_eq!("unix:/run/a.sock".parse(), Ok(Address::Unix("/run/a.sock".into())));
        assert_eq!("127.0.0.1:9339".parse(), Ok(Address::Loopback(([127, 0, 0, 1], 9339).into())));
        assert_eq!("unix:a.sock".parse::<Address>(), Err(AddressError::Form));
        assert_eq!("localhost:1".parse::<Address>(), Err(AddressError::Form));
        let any = AddressError::NotLoopback([0, 0, 0, 0].into());
        assert_eq!("0.0.0.0:9339".parse::<Address>(), Err(any));
    }
}
