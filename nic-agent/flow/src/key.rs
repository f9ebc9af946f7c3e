//! The flow key: what one packet looks like, flat.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nic_wire::MacAddr;

use crate::PortId;
use crate::field::{Field, Frag, Kind, L3, L4, Tunnel, WORDS};

/// EtherTypes that give [`Field::IpSrc`] and its neighbours their meaning.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// All the fields of one packet. A field that the packet does not have is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowKey {
    pub(crate) words: [u64; WORDS],
}

impl FlowKey {
    /// A key with every field zero.
    pub const ZERO: FlowKey = FlowKey { words: [0; WORDS] };

    /// The value of a field.
    #[inline]
    pub const fn get(&self, field: Field) -> u128 {
        read(&self.words, field)
    }

    /// Sets a field; bits of `value` beyond the field's width are cut off.
    #[inline]
    pub const fn set(&mut self, field: Field, value: u128) {
        write(&mut self.words, field, value);
    }

    /// The same key with one field set.
    #[must_use]
    pub const fn with(mut self, field: Field, value: u128) -> FlowKey {
        self.set(field, value);
        self
    }

    /// The words, for hashing and masking.
    #[inline]
    pub const fn words(&self) -> &[u64; WORDS] {
        &self.words
    }

    /// A key from its words.
    #[inline]
    pub const fn from_words(words: [u64; WORDS]) -> FlowKey {
        FlowKey { words }
    }

    /// The port by which the packet entered.
    #[inline]
    pub const fn in_port(&self) -> PortId {
        PortId::from_bits(self.get(Field::InPort) as u16)
    }

    /// The EtherType behind the VLAN tags.
    #[inline]
    pub const fn eth_type(&self) -> u16 {
        self.get(Field::EthType) as u16
    }

    /// The state of the layer-3 header.
    #[inline]
    pub const fn l3(&self) -> L3 {
        L3::from_bits(self.get(Field::L3))
    }

    /// The state of the layer-4 header.
    #[inline]
    pub const fn l4(&self) -> L4 {
        L4::from_bits(self.get(Field::L4))
    }

    /// Fragmentation.
    #[inline]
    pub const fn frag(&self) -> Frag {
        Frag::from_bits(self.get(Field::IpFrag))
    }

    /// The state of the tunnel header.
    #[inline]
    pub const fn tunnel(&self) -> Tunnel {
        Tunnel::from_bits(self.get(Field::Tunnel))
    }

    /// A MAC address field ([`Field::EthSrc`], [`Field::EthDst`], [`Field::ArpSha`], [`Field::ArpTha`]).
    #[inline]
    pub fn mac(&self, field: Field) -> MacAddr {
        mac_from_bits(self.get(field))
    }

    /// An address field ([`Field::IpSrc`], [`Field::IpDst`] and those of the frame in the tunnel): IPv6
    /// if the EtherType that belongs to it says so, else IPv4.
    #[inline]
    pub fn ip(&self, field: Field) -> IpAddr {
        let bits = self.get(field);
        let eth_type = match field.kind() {
            Kind::TunIp => self.get(Field::TunEthType) as u16,
            _ => self.eth_type(),
        };
        if eth_type == ETHERTYPE_IPV6 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        }
    }
}

/// The words of a frame's own fields, but for the first, which has the port.
const OWN: core::ops::Range<usize> = 1..WORDS / 2;
/// Where those of the frame in the tunnel lie, in the same places.
const TUNNELLED: core::ops::Range<usize> = WORDS / 2 + 1..WORDS;
/// The fields that do not lie in the same place, for want of room.
const DISPLACED: [(Field, Field); 3] = [
    (Field::EthType, Field::TunEthType),
    (Field::VlanTci, Field::TunVlanTci),
    (Field::VlanTpid, Field::TunVlanTpid),
];

/// The tunnel's fields, all together as [`TUNNELLED`](crate::field::TUNNELLED) has them one by one, for
/// extraction has to be fast.
impl FlowKey {
    /// Makes the plain fields of `inner` those of the frame in the tunnel.
    pub(crate) fn set_tunnelled(&mut self, inner: &FlowKey) {
        self.words[TUNNELLED].copy_from_slice(&inner.words[OWN]);
        for (plain, tunnelled) in DISPLACED {
            self.set(tunnelled, inner.get(plain));
        }
    }

    /// The key with the frame in the tunnel in place of the packet's own headers, and no tunnel.
    pub(crate) fn tunnelled(&self) -> FlowKey {
        let mut inner = FlowKey::ZERO.with(Field::InPort, self.get(Field::InPort));
        inner.words[OWN].copy_from_slice(&self.words[TUNNELLED]);
        // Word 9 has nothing beside an address; the displaced TPID lies there.
        inner.words[OWN.end - 1] &= !0xffff;
        for (plain, tunnelled) in DISPLACED {
            inner.set(plain, self.get(tunnelled));
        }
        inner
    }

    /// Takes the tunnel's fields away.
    pub(crate) fn clear_tunnel(&mut self) {
        self.words[WORDS / 2..].fill(0);
    }
}

/// A MAC address as the value of a field.
#[inline]
pub fn mac_to_bits(mac: MacAddr) -> u128 {
    u128::from(mac.to_u64())
}

/// A field's value as a MAC address; only the low 48 bits count.
#[inline]
pub fn mac_from_bits(bits: u128) -> MacAddr {
    MacAddr::from_u64(bits as u64 & 0xffff_ffff_ffff)
}

/// An IP address as the value of a field.
#[inline]
pub fn ip_to_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

pub(crate) const fn read(words: &[u64; WORDS], field: Field) -> u128 {
    let place = field.place();
    if place.width > 64 {
        ((words[place.word] as u128) << 64) | words[place.word + 1] as u128
    } else {
        ((words[place.word] >> place.shift) & (u64::MAX >> (64 - place.width))) as u128
    }
}

pub(crate) const fn write(words: &mut [u64; WORDS], field: Field, value: u128) {
    let place = field.place();
    if place.width > 64 {
        words[place.word] = (value >> 64) as u64;
        words[place.word + 1] = value as u64;
    } else {
        let bits = (u64::MAX >> (64 - place.width)) << place.shift;
        words[place.word] = (words[place.word] & !bits) | (((value as u64) << place.shift) & bits);
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for &field in Field::ALL {
            let value = self.get(field);
            if value != 0 {
                map.entry(&field, &format_args!("{value:#x}"));
            }
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::TUNNELLED as TUNNELLED_FIELDS;

    #[test]
    fn a_field_set_reads_back_and_leaves_the_others_alone() {
        for &field in Field::ALL {
            let mut key = FlowKey::ZERO;
            key.set(field, u128::MAX);
            assert_eq!(key.get(field), field.max());
            for &other in Field::ALL.iter().filter(|&&other| other != field) {
                assert_eq!(key.get(other), 0, "{field} wrote into {other}");
            }
        }
    }

    #[test]
    fn the_frame_in_the_tunnel_moves_field_by_field() {
        let full = Field::ALL
            .iter()
            .enumerate()
            .fold(FlowKey::ZERO, |key, (index, &field)| key.with(field, u128::MAX / (index as u128 + 3)));
        let mut into = FlowKey::ZERO.with(Field::InPort, 1).with(Field::Vni, 2).with(Field::Tunnel, 1);
        let mut expected = into;
        into.set_tunnelled(&full);
        for &(plain, tunnelled) in TUNNELLED_FIELDS {
            expected.set(tunnelled, full.get(plain));
        }
        assert_eq!(into, expected);

        let mut expected = FlowKey::ZERO.with(Field::InPort, full.get(Field::InPort));
        for &(plain, tunnelled) in TUNNELLED_FIELDS {
            expected.set(plain, full.get(tunnelled));
        }
        assert_eq!(full.tunnelled(), expected);

        let mut cleared = full;
        cleared.clear_tunnel();
        let mut expected = full.with(Field::Tunnel, 0).with(Field::Vni, 0);
        for &(_, tunnelled) in TUNNELLED_FIELDS {
            expected.set(tunnelled, 0);
        }
        assert_eq!(cleared, expected);
    }
}
