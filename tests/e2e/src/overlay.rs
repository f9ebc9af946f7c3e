//! An overlay: tunnel endpoints behind the uplink, which know nothing of the card but its address.
//!
//! ```text
//!  card          nic-P-N-wire                                nic-P-N-far
//!  p0 ---------- eth0 -- br0 192.0.2.56, fd00:2::56 -------- eth0 192.0.2.57, fd00:2::57
//!  VTEP .51              vxlan16  10.10.1.1                  vxlan16  (takes over what moves)
//! ```
//!
//! The endpoint in `wire` is the Linux kernel's VXLAN, or Open vSwitch's in user space.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::LabError;
use crate::lab::Lab;
use crate::netns::{self, Node, Place, ip};
use crate::{Daemon, ovs_dpdk, run};

/// The VXLAN network that stations of the lab are in.
pub const VNI: u32 = 16;

/// What ends the tunnels in `wire`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// A `vxlan` device of Linux.
    Kernel,
    /// Open vSwitch, its datapath in user space.
    OpenVSwitch,
}

/// The underlay's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underlay {
    /// 192.0.2.0/24.
    Ipv4,
    /// fd00:2::/64.
    Ipv6,
}

impl Underlay {
    /// An address in it.
    pub fn address(self, last: u8) -> IpAddr {
        match self {
            Underlay::Ipv4 => Ipv4Addr::new(192, 0, 2, last).into(),
            Underlay::Ipv6 => {
                Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, u16::from(last / 10) << 4 | u16::from(last % 10))
                    .into()
            }
        }
    }

    /// The card's.
    pub fn card(self) -> IpAddr {
        self.address(51)
    }

    /// That of the endpoint in `wire`.
    pub fn wire(self) -> IpAddr {
        self.address(56)
    }

    /// That of the endpoint in `far`.
    pub fn far(self) -> IpAddr {
        self.address(57)
    }

    /// Bits of an address that name the network.
    pub const fn prefix_length(self) -> u8 {
        match self {
            Underlay::Ipv4 => 24,
            Underlay::Ipv6 => 64,
        }
    }

    /// What is left for IP packets in the tunnel of 1500 octets.
    pub const fn mtu(self) -> u16 {
        match self {
            Underlay::Ipv4 => 1450,
            Underlay::Ipv6 => 1430,
        }
    }
}

/// A text of an address as a resource wants it, in quotes.
fn quoted(address: impl std::fmt::Display) -> String {
    format!("'{address}'")
}

/// The resources of an overlay, as a file: the uplink, the card's VTEP with the peers in `wire` and `far`,
/// one bridge, and the VMs that are attached to it.
pub fn resources(underlay: Underlay, vms: &[(&str, &str)]) -> String {
    let mut text = format!(
        "---\napiVersion: nic.v1\nkind: Port\nname: ports/uplink\nspec: {{device: p0}}\n\
         ---\napiVersion: nic.v1\nkind: Vtep\nname: vteps/card\n\
         spec: {{port: ports/uplink, address: {}}}\n\
         ---\napiVersion: nic.v1\nkind: Bridge\nname: bridges/blue\n\
         spec: {{vtep: vteps/card, vni: {VNI}}}\n",
        quoted(format!("{}/{}", underlay.card(), underlay.prefix_length()))
    );
    for (name, address) in [("wire", underlay.wire()), ("far", underlay.far())] {
        text += &format!(
            "---\napiVersion: nic.v1\nkind: TunnelPeer\nname: tunnelPeers/{name}\n\
             spec: {{vtep: vteps/card, address: {}, bridges: [bridges/blue]}}\n",
            quoted(address)
        );
    }
    for (name, device) in vms {
        text += &port(name, device, underlay.mtu(), "bridge: bridges/blue");
    }
    text
}

/// A Port, as a file.
pub fn port(name: &str, device: &str, mtu: u16, more: &str) -> String {
    format!(
        "---\napiVersion: nic.v1\nkind: Port\nname: ports/{name}\nspec: {{device: {device}, mtu: {mtu}, {more}}}\n"
    )
}

impl Lab {
    /// Gives the peer its tunnel endpoints, and everybody the MTU that they leave.
    pub fn make_overlay(&mut self, endpoint: Endpoint, underlay: Underlay) -> Result<(), LabError> {
        self.shrink_mtu(underlay)?;
        self.make_far()?;
        match endpoint {
            Endpoint::Kernel => self.make_kernel_endpoint(underlay)?,
            Endpoint::OpenVSwitch => self.make_open_vswitch(underlay)?,
        }
        self.add_vxlan(Node::Far, VNI, underlay)
    }

    /// Puts the interfaces of a machine that was switched off and on where they were in the overlay.
    pub fn rejoin_overlay(&self, underlay: Underlay) -> Result<(), LabError> {
        self.shrink_mtu(underlay)?;
        let wire = self.namespace(Node::Wire);
        ip(&["-n", &wire, "addr", "flush", "dev", "eth0"])?;
        self.without_tunnel_offload(Node::Wire, "eth0")?;
        ip(&["-n", &wire, "link", "set", "eth0", "master", "br0"])
    }

    fn shrink_mtu(&self, underlay: Underlay) -> Result<(), LabError> {
        for node in [Node::Host1, Node::Host2, Node::Host3] {
            let namespace = self.namespace(node);
            ip(&["-n", &namespace, "link", "set", "eth0", "mtu", &underlay.mtu().to_string()])?;
        }
        Ok(())
    }

    /// The namespace `far`, on a bridge with the uplink's wire.
    fn make_far(&self) -> Result<(), LabError> {
        let (wire, far) = (self.namespace(Node::Wire), self.namespace(Node::Far));
        ip(&["netns", "add", &far])?;
        for namespace in [&wire, &far] {
            netns::quiet_ipv6(namespace, true)?;
        }
        ip(&["-n", &far, "link", "set", "lo", "up"])?;
        ip(&["-n", &wire, "addr", "flush", "dev", "eth0"])?;
        ip(&["-n", &wire, "neigh", "flush", "all", "nud", "permanent"])?;
        ip(&[
            "link", "add", "name", "far", "netns", &wire, "type", "veth", "peer", "name", "eth0", "netns",
            &far,
        ])?;
        ip(&["-n", &wire, "link", "set", "far", "up"])?;
        ip(&["-n", &far, "link", "set", "eth0", "up"])?;
        for (node, interface) in [(Node::Wire, "eth0"), (Node::Wire, "far"), (Node::Far, "eth0")] {
            self.without_tunnel_offload(node, interface)?;
        }
        self.add_addresses(&far, "eth0", [Underlay::Ipv4.far(), Underlay::Ipv6.far()])
    }

    /// A virtio header has no word for a packet that is to be cut inside a tunnel: the kernel cuts it.
    fn without_tunnel_offload(&self, node: Node, interface: &str) -> Result<(), LabError> {
        let mut command = self.command(node, "ethtool");
        command.args([
            "-K",
            interface,
            "tx-udp_tnl-segmentation",
            "off",
            "tx-udp_tnl-csum-segmentation",
            "off",
        ]);
        run::output(&mut command).map(|_| ())
    }

    /// The peer's addresses as a station of the overlay.
    fn add_station(&self, namespace: &str, interface: &str) -> Result<(), LabError> {
        let place = Node::Wire.place();
        let ipv6 = self.options.ipv6.then(|| IpAddr::V6(place.ipv6()));
        self.add_addresses(namespace, interface, [IpAddr::V4(place.ipv4())].into_iter().chain(ipv6))
    }

    fn add_addresses(
        &self,
        namespace: &str,
        interface: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), LabError> {
        for address in addresses {
            let length = if address.is_ipv4() { 24 } else { 64 };
            let text = format!("{address}/{length}");
            let mut words = vec!["-n", namespace, "addr", "add", &text, "dev", interface];
            words.extend(address.is_ipv6().then_some("nodad"));
            ip(&words)?;
        }
        Ok(())
    }

    fn make_kernel_endpoint(&self, underlay: Underlay) -> Result<(), LabError> {
        let wire = self.namespace(Node::Wire);
        ip(&["-n", &wire, "link", "add", "name", "br0", "type", "bridge"])?;
        for interface in ["eth0", "far"] {
            ip(&["-n", &wire, "link", "set", interface, "master", "br0"])?;
        }
        ip(&["-n", &wire, "link", "set", "br0", "up"])?;
        self.add_addresses(&wire, "br0", [Underlay::Ipv4.wire(), Underlay::Ipv6.wire()])?;
        self.add_vxlan(Node::Wire, VNI, underlay)?;
        let place = Node::Wire.place();
        let interface = format!("vxlan{VNI}");
        ip(&["-n", &wire, "link", "set", &interface, "address", &place.mac_text()])?;
        self.add_station(&wire, &interface)?;
        self.add_neighbours(&wire, &interface)
    }

    /// The stations behind the card, if everybody is to know everybody.
    fn add_neighbours(&self, namespace: &str, interface: &str) -> Result<(), LabError> {
        for place in [Node::Host1, Node::Host2, Node::Host3].map(Node::place) {
            if self.options.neighbours {
                let (address, mac) = (place.ipv4().to_string(), place.mac_text());
                let words = ["neigh", "add", &address, "lladdr", &mac, "dev", interface, "nud", "permanent"];
                ip(&[&["-n", namespace], &words[..]].concat())?;
            }
        }
        Ok(())
    }

    /// Packets that came in by an interface of a namespace since it exists.
    pub fn packets_at(&self, node: Node, interface: &str) -> Result<u64, LabError> {
        self.statistic(node, interface, "rx_packets")
    }

    /// A counter of the kernel's of an interface of a namespace.
    pub fn statistic(&self, node: Node, interface: &str, name: &str) -> Result<u64, LabError> {
        let mut command = self.command(node, "cat");
        command.arg(format!("/sys/class/net/{interface}/statistics/{name}"));
        let text = run::output(&mut command)?;
        text.trim().parse().map_err(|_| LabError::Output {
            command: "cat".into(),
            output: text,
            why: "it is no number".into(),
        })
    }

    /// A station moves: from now on another interface has its address and its MAC address.
    pub fn move_station(&self, station: Place, from: (Node, &str), to: (Node, &str)) -> Result<(), LabError> {
        let (old, new) = (self.namespace(from.0), self.namespace(to.0));
        let address = format!("{}/24", station.ipv4());
        ip(&["-n", &old, "addr", "del", &address, "dev", from.1])?;
        ip(&["-n", &old, "link", "set", from.1, "address", "02:00:00:00:0f:0f"])?;
        ip(&["-n", &new, "link", "set", to.1, "address", &station.mac_text()])?;
        ip(&["-n", &new, "addr", "add", &address, "dev", to.1])
    }

    /// A VXLAN device, named after its VNI, that floods to the card.
    pub fn add_vxlan(&self, node: Node, vni: u32, underlay: Underlay) -> Result<(), LabError> {
        let namespace = self.namespace(node);
        let (name, vni) = (format!("vxlan{vni}"), vni.to_string());
        let local = if node == Node::Far { underlay.far() } else { underlay.wire() };
        let (local, card) = (local.to_string(), underlay.card().to_string());
        let mut words = vec!["-n", &namespace, "link", "add", "name", &name, "type", "vxlan", "id", &vni];
        words.extend(["local", &local, "remote", &card, "dstport", "4789"]);
        // A card sends no checksum around the tunnel's frame (RFC 6935).
        words.extend(["udp6zerocsumrx", "udp6zerocsumtx"]);
        ip(&words)?;
        if !self.options.ipv6 {
            // Else the kernel announces itself in the overlay, at any time.
            let mut command = self.command(node, "sysctl");
            command.arg("-q").arg(format!("net.ipv6.conf.{name}.disable_ipv6=1"));
            run::output(&mut command)?;
        }
        let mtu = underlay.mtu().to_string();
        ip(&["-n", &namespace, "link", "set", &name, "mtu", &mtu, "up"])
    }

    fn make_open_vswitch(&mut self, underlay: Underlay) -> Result<(), LabError> {
        let folder = self.folder().join("ovs");
        fs::create_dir_all(&folder).map_err(LabError::io("making a folder for Open vSwitch"))?;
        let server = ovs_dpdk::start_database(self, Node::Wire, &folder)?;
        let socket = folder.join("db.sock");
        let mut switch = self.lasting(Node::Wire, "ovs-vswitchd");
        ovs_dpdk::places(&mut switch, &folder);
        switch.arg(format!("unix:{}", socket.display())).arg("--pidfile");
        let switch = Daemon::start("ovs-vswitchd", switch, self.folder(), self.options.keep)?;
        self.switches.extend([switch, server]);

        let wire = self.namespace(Node::Wire);
        let place = Node::Wire.place();
        let vsctl = |words: &[&str]| {
            let mut command = self.command(Node::Wire, "ovs-vsctl");
            command.arg(format!("--db=unix:{}", socket.display())).args(words);
            run::output(&mut command).map(|_| ())
        };
        vsctl(&["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"])?;
        vsctl(&["add-port", "br0", "eth0", "--", "add-port", "br0", "far"])?;
        ip(&["-n", &wire, "link", "set", "br0", "up"])?;
        self.add_addresses(&wire, "br0", [Underlay::Ipv4.wire(), Underlay::Ipv6.wire()])?;
        let mac = format!("other_config:hwaddr=\"{}\"", place.mac_text());
        vsctl(&["add-br", "stations", "--", "set", "bridge", "stations", "datapath_type=netdev", &mac])?;
        let remote = format!("options:remote_ip=\"{}\"", underlay.card());
        let local = format!("options:local_ip=\"{}\"", underlay.wire());
        let key = format!("options:key={VNI}");
        vsctl(&[
            "add-port",
            "stations",
            "tunnel",
            "--",
            "set",
            "interface",
            "tunnel",
            "type=vxlan",
            &remote,
            &local,
            &key,
            "options:dst_port=4789",
        ])?;
        ip(&["-n", &wire, "link", "set", "stations", "mtu", &underlay.mtu().to_string(), "up"])?;
        self.add_station(&wire, "stations")?;
        self.add_neighbours(&wire, "stations")
    }
}
