//! Where the headers of a frame are, and in what state.

use nic_wire::vlan::Tci;
use nic_wire::{EtherType, IpProto, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp, vlan, vxlan};

use crate::field::{Frag, L3, L4};

/// Tags that are parsed.
const MAX_TAGS: usize = 2;
/// `vlan_count` of a frame with more tags, or with one that is cut off.
const TOO_DEEP: u8 = 3;
/// `eth_type` of a frame with a length field, as OpenFlow 1.3 has it.
const LLC: EtherType = EtherType(0x05ff);

/// Where the headers of a frame are, and in what state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers {
    /// Tags parsed, or 3.
    pub(crate) vlan_count: u8,
    /// Outer and inner tag; zero where there is none.
    pub(crate) tags: [(EtherType, Tci); MAX_TAGS],
    /// The EtherType behind the tags parsed.
    pub(crate) eth_type: EtherType,
    /// Where layer 3 begins; means something if `l3` is ok.
    pub(crate) l3_at: usize,
    /// State of the layer-3 header.
    pub(crate) l3: L3,
    /// What the IP header carries.
    pub(crate) proto: IpProto,
    /// Whether the packet is a fragment.
    pub(crate) frag: Frag,
    /// Whether an IPv6 routing header keeps the destination address out of the pseudo header.
    pub(crate) routed: bool,
    /// Where layer 4 begins; means something if `l4` is ok.
    pub(crate) l4_at: usize,
    /// State of the layer-4 header.
    pub(crate) l4: L4,
}

/// A tunnel that begins behind a UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// There is none.
    Nothing,
    /// Its header, or that of the frame in it, is not whole.
    Malformed,
    /// VXLAN.
    Vxlan {
        /// The network identifier.
        vni: u32,
        /// Where the frame in the tunnel begins. It ends where the packet's own ends, as it does for a
        /// card that takes headers away and looks at no length.
        at: usize,
    },
}

impl Headers {
    const NOTHING: Headers = Headers {
        vlan_count: 0,
        tags: [(EtherType(0), Tci(0)); MAX_TAGS],
        eth_type: EtherType(0),
        l3_at: 0,
        l3: L3::Other,
        proto: IpProto(0),
        frag: Frag::No,
        routed: false,
        l4_at: 0,
        l4: L4::Other,
    };

    /// Finds the headers of a frame.
    pub(crate) fn parse(frame: &[u8]) -> Headers {
        let mut headers = Headers::NOTHING;
        let Ok(ethernet) = ethernet::Packet::new_checked(frame) else {
            headers.l3 = L3::Malformed;
            return headers;
        };
        headers.eth_type = ethernet.ethertype();
        headers.l3_at = ethernet::HEADER_LEN;
        headers.vlan(frame);
        if headers.l3 == L3::Other {
            headers.layer3(frame);
        }
        headers
    }

    fn vlan(&mut self, frame: &[u8]) {
        while self.eth_type.is_vlan() {
            let depth = usize::from(self.vlan_count);
            if depth == MAX_TAGS {
                self.vlan_count = TOO_DEEP;
                return;
            }
            let Ok(tag) = vlan::Packet::new_checked(&frame[self.l3_at..]) else {
                self.vlan_count = TOO_DEEP;
                self.l3 = L3::Malformed;
                return;
            };
            self.tags[depth] = (self.eth_type, tag.tci());
            self.vlan_count += 1;
            self.eth_type = tag.ethertype();
            self.l3_at += vlan::HEADER_LEN;
        }
        if self.eth_type.is_length() {
            self.eth_type = LLC;
        }
    }

    fn layer3(&mut self, frame: &[u8]) {
        let bytes = &frame[self.l3_at..];
        let whole = match self.eth_type {
            EtherType::IPV4 => self.ip_v4(bytes),
            EtherType::IPV6 => self.ip_v6(bytes),
            EtherType::ARP => arp::Packet::new_checked(bytes).is_ok_and(|arp| arp.is_ethernet_ipv4()),
            _ => return,
        };
        self.l3 = if whole { L3::Ok } else { L3::Malformed };
    }

    fn ip_v4(&mut self, bytes: &[u8]) -> bool {
        let Ok(ip) = ipv4::Packet::new_checked(bytes) else {
            return false;
        };
        self.proto = ip.protocol();
        self.frag = match (ip.fragment_offset(), ip.more_fragments()) {
            (0, false) => Frag::No,
            (0, true) => Frag::First,
            _ => Frag::Later,
        };
        self.l4_at = self.l3_at + ip.header_len();
        self.layer4(ip.payload());
        true
    }

    fn ip_v6(&mut self, bytes: &[u8]) -> bool {
        let Ok(ip) = ipv6::Packet::new_checked(bytes) else {
            return false;
        };
        match ip.extensions() {
            Ok(end) => {
                self.proto = end.proto;
                self.routed = end.routed;
                self.frag = match end.fragment {
                    Some(fragment) if fragment.offset != 0 => Frag::Later,
                    Some(fragment) if fragment.more => Frag::First,
                    _ => Frag::No,
                };
                self.l4_at = self.l3_at + ipv6::HEADER_LEN + end.offset;
                self.layer4(&ip.payload()[end.offset..]);
            }
            Err(_) => {
                self.proto = ip.next_header();
                self.l4 = L4::Malformed;
            }
        }
        true
    }

    /// `payload` is what the IP header carries.
    fn layer4(&mut self, payload: &[u8]) {
        let v6 = self.eth_type == EtherType::IPV6;
        let known = match self.proto {
            IpProto::TCP | IpProto::UDP => true,
            IpProto::ICMPV4 => !v6,
            IpProto::ICMPV6 => v6,
            _ => false,
        };
        self.l4 = if self.frag == Frag::Later {
            // Whatever it is a fragment of, no header of it is here.
            L4::LaterFragment
        } else if !known {
            L4::Other
        } else if self.is_whole(payload) {
            L4::Ok
        } else {
            L4::Malformed
        };
    }

    /// The tunnel in the frame that these are the headers of.
    pub(crate) fn inside(&self, frame: &[u8]) -> Inside {
        if self.l4 != L4::Ok || self.proto != IpProto::UDP || self.frag != Frag::No {
            return Inside::Nothing;
        }
        let udp = udp::Packet::new_unchecked(&frame[self.l4_at..]);
        if udp.dst_port() != vxlan::PORT {
            return Inside::Nothing;
        }
        // Both headers must lie in the datagram, not in what pads the frame behind it.
        let Ok(tunnel) = vxlan::Packet::new_checked(udp.payload()) else {
            return Inside::Malformed;
        };
        if !tunnel.has_vni() || ethernet::Packet::new_checked(tunnel.payload()).is_err() {
            return Inside::Malformed;
        }
        let at = self.l4_at + udp::HEADER_LEN + vxlan::HEADER_LEN;
        Inside::Vxlan { vni: tunnel.vni(), at }
    }

    fn is_whole(&self, payload: &[u8]) -> bool {
        match self.proto {
            IpProto::TCP => tcp::Packet::new_checked(payload).is_ok(),
            IpProto::UDP if self.frag == Frag::First => {
                udp::Packet::new_unchecked(payload).check_header_len().is_ok()
            }
            IpProto::UDP => udp::Packet::new_checked(payload).is_ok(),
            IpProto::ICMPV4 => icmpv4::Packet::new_checked(payload).is_ok(),
            _ => icmpv6::Packet::new_checked(payload).is_ok(),
        }
    }
}
