//! The namespaces, what is in them, and who has which address.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use crate::error::LabError;
use crate::run;

/// A namespace of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The first VM: VF 0, nicctl and the host's shim.
    Host1,
    /// The second VM: VF 1.
    Host2,
    /// The third VM: VF 2.
    Host3,
    /// The peer behind the uplink.
    Wire,
    /// Another peer, behind the first one's bridge; only an overlay has it ([`crate::overlay`]).
    Far,
    /// The card.
    Card,
}

/// Those that every lab has.
pub const NODES: [Node; 5] = [Node::Host1, Node::Host2, Node::Host3, Node::Wire, Node::Card];

/// Those that have an interface with addresses, `eth0`.
pub const PLACES: [Place; 4] = [
    Place { node: Node::Host1, device: "pf0vf0", last: 11 },
    Place { node: Node::Host2, device: "pf0vf1", last: 12 },
    Place { node: Node::Host3, device: "pf0vf2", last: 13 },
    Place { node: Node::Wire, device: "p0", last: 1 },
];

/// A namespace with an interface, and the card's device at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The namespace.
    pub node: Node,
    /// The device's stable name, which its interface in the card's namespace has, too.
    pub device: &'static str,
    /// The last octet of its addresses.
    last: u8,
}

impl Place {
    /// `10.10.1.LAST`.
    pub fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 10, 1, self.last)
    }

    /// `fd00:10::LAST`.
    pub fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, self.last.into())
    }

    /// `02:00:00:00:01:LAST`, as octets.
    pub fn mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 1, self.last]
    }

    /// The same as text.
    pub fn mac_text(self) -> String {
        self.mac().map(|octet| format!("{octet:02x}")).join(":")
    }
}

impl Node {
    /// Its part of the namespace's name.
    pub fn name(self) -> &'static str {
        match self {
            Node::Host1 => "host1",
            Node::Host2 => "host2",
            Node::Host3 => "host3",
            Node::Wire => "wire",
            Node::Far => "far",
            Node::Card => "card",
        }
    }

    /// Its interface and addresses. The card and the far peer have none: asking for them is a fault of
    /// the caller.
    pub fn place(self) -> Place {
        let found = PLACES.into_iter().find(|place| place.node == self);
        found.expect("every node but the card and the far peer has an address")
    }
}

/// A command in a namespace. It ends with the thread that starts it.
pub(crate) fn within(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The same for a process that is to outlive us.
pub(crate) fn within_for_good(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "setsid", "--"]).arg(program);
    command
}

/// How the namespaces are furnished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Furniture {
    pub(crate) ipv6: bool,
    /// Everybody knows everybody's MAC address, so that nobody asks.
    pub(crate) neighbours: bool,
}

/// Makes the namespaces, `PREFIX-host1` and so on, with their interfaces and addresses.
pub(crate) fn build(prefix: &str, furniture: Furniture) -> Result<(), LabError> {
    build_empty(prefix, furniture)?;
    let card = format!("{prefix}-card");
    for place in PLACES {
        let namespace = format!("{prefix}-{}", place.node.name());
        let mac = place.mac_text();
        ip(&[
            "link",
            "add",
            "name",
            "eth0",
            "address",
            &mac,
            "netns",
            &namespace,
            "type",
            "veth",
            "peer",
            "name",
            place.device,
            "netns",
            &card,
        ])?;
        ip(&["-n", &card, "link", "set", place.device, "up"])?;
        settle(&namespace, place, furniture)?;
    }
    Ok(())
}

/// Makes the namespaces without interfaces.
pub(crate) fn build_empty(prefix: &str, furniture: Furniture) -> Result<(), LabError> {
    for node in NODES {
        let namespace = format!("{prefix}-{}", node.name());
        ip(&["netns", "add", &namespace])?;
        let ipv6 = furniture.ipv6 && node != Node::Card;
        quiet_ipv6(&namespace, ipv6)?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
    }
    Ok(())
}

/// Gives a place's interface its addresses.
pub(crate) fn settle(namespace: &str, place: Place, furniture: Furniture) -> Result<(), LabError> {
    ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
    ip(&["-n", namespace, "addr", "add", &format!("{}/24", place.ipv4()), "dev", "eth0"])?;
    if furniture.ipv6 {
        ip(&["-n", namespace, "addr", "add", &format!("{}/64", place.ipv6()), "dev", "eth0", "nodad"])?;
    }
    for other in PLACES.into_iter().filter(|other| furniture.neighbours && *other != place) {
        let mac = other.mac_text();
        let neighbour = |address: &str| {
            ip(&["-n", namespace, "neigh", "add", address, "lladdr", &mac, "dev", "eth0", "nud", "permanent"])
        };
        neighbour(&other.ipv4().to_string())?;
        if furniture.ipv6 {
            neighbour(&other.ipv6().to_string())?;
        }
    }
    Ok(())
}

/// Keeps the kernel from sending IPv6 packets of its own accord, as far as it lets itself be kept.
pub(crate) fn quiet_ipv6(namespace: &str, wanted: bool) -> Result<(), LabError> {
    let settings: &[&str] = if wanted {
        &[
            "disable_ipv6=0",
            "addr_gen_mode=1",
            "accept_ra=0",
            "accept_dad=0",
            "router_solicitations=0",
            "autoconf=0",
        ]
    } else {
        &["disable_ipv6=1"]
    };
    let mut command = within(namespace, "sysctl");
    command.arg("-q");
    for scope in ["all", "default"] {
        command.args(settings.iter().map(|setting| format!("net.ipv6.conf.{scope}.{setting}")));
    }
    run::output(&mut command).map(|_| ())
}

pub(crate) fn ip(args: &[&str]) -> Result<(), LabError> {
    run::output(Command::new("ip").args(args)).map(|_| ())
}
