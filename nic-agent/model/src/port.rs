//! The Port resource.

use nic_flow::{MacAddr, PortId};
use nic_policy::object::MAX_PORT_MACS;

use crate::violation::{Part, Reason, Violation};

/// The smallest MTU: every IPv4 link carries this much (RFC 791 section 3.2).
pub const MIN_MTU: u16 = 68;
/// The largest MTU.
pub const MAX_MTU: u16 = 9216;
/// The MTU of a port that names none.
pub const DEFAULT_MTU: u16 = 1500;

/// What a client wants of a port. Always valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    device: PortId,
    enabled: bool,
    mtu: u16,
    macs: Vec<MacAddr>,
    anti_spoof: bool,
}

/// A port's spec as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct PortFields<'a> {
    /// The device's stable name.
    pub device: &'a str,
    /// Whether packets pass.
    pub enabled: bool,
    /// 0 means [`DEFAULT_MTU`].
    pub mtu: u32,
    /// Source MAC addresses of the port.
    pub mac_addresses: &'a [String],
    /// Whether others are dropped.
    pub anti_spoof: bool,
}

impl PortSpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(fields: &PortFields<'_>) -> Result<PortSpec, Vec<Violation>> {
        let mut faults = Vec::new();
        let device =
            device(fields.device).map_err(|reason| faults.push(Violation::new(Part::Device, reason)));
        let mtu = mtu(fields.mtu).map_err(|reason| faults.push(Violation::new(Part::Mtu, reason)));
        let macs = mac_addresses(fields.mac_addresses, &mut faults);
        if fields.anti_spoof && fields.mac_addresses.is_empty() {
            let reason =
                Reason::Conflict("antiSpoof needs at least one MAC address: without one nothing may enter");
            faults.push(Violation::new(Part::MacAddresses, reason));
        }
        match (device, mtu) {
            (Ok(device), Ok(mtu)) if faults.is_empty() => {
                Ok(PortSpec { device, enabled: fields.enabled, mtu, macs, anti_spoof: fields.anti_spoof })
            }
            _ => Err(faults),
        }
    }

    /// The device that the port stands for.
    pub const fn device(&self) -> PortId {
        self.device
    }

    /// False if no packet comes in or goes out.
    pub const fn enabled(&self) -> bool {
        self.enabled
    }

    /// The largest layer-3 packet, in octets.
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The port's source MAC addresses, as sent.
    pub fn mac_addresses(&self) -> &[MacAddr] {
        &self.macs
    }

    /// Whether packets from other source MAC addresses are dropped.
    pub const fn anti_spoof(&self) -> bool {
        self.anti_spoof
    }

    /// The policy that this spec becomes.
    pub fn policy(&self) -> nic_policy::Port {
        // The length was checked, so every address fits.
        let source_macs = self.anti_spoof.then(|| self.macs.iter().copied().take(MAX_PORT_MACS).collect());
        nic_policy::Port { id: self.device, enabled: self.enabled, source_macs }
    }
}

fn device(text: &str) -> Result<PortId, Reason> {
    if text.is_empty() {
        return Err(Reason::Required);
    }
    text.parse().map_err(|error| match error {
        nic_flow::port::ParsePortError::Form => {
            Reason::Malformed("an uplink as p0, a host function as pf0hpf or a virtual function as pf0vf3")
        }
        nic_flow::port::ParsePortError::PfRange => {
            Reason::Malformed("a device of an uplink or physical function from 0 to 15")
        }
        nic_flow::port::ParsePortError::VfRange => Reason::Malformed("a virtual function from 0 to 1023"),
    })
}

fn mtu(value: u32) -> Result<u16, Reason> {
    match u16::try_from(value) {
        Ok(0) => Ok(DEFAULT_MTU),
        Ok(mtu) if (MIN_MTU..=MAX_MTU).contains(&mtu) => Ok(mtu),
        _ => Err(Reason::OutOfRange { min: MIN_MTU.into(), max: MAX_MTU.into() }),
    }
}

fn mac_addresses(texts: &[String], faults: &mut Vec<Violation>) -> Vec<MacAddr> {
    if texts.len() > MAX_PORT_MACS {
        let reason = Reason::OutOfRange { min: 0, max: MAX_PORT_MACS as u64 };
        faults.push(Violation::new(Part::MacAddresses, reason));
        return Vec::new();
    }
    let mut macs = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let reason = match text.parse::<MacAddr>() {
            Ok(mac) if macs.contains(&mac) => Reason::Conflict("it is in the list twice"),
            Ok(mac) if mac.is_unicast() => {
                macs.push(mac);
                continue;
            }
            Ok(_) => Reason::Malformed("the address of one station: neither a group address nor zero"),
            Err(_) => Reason::Malformed("a MAC address such as 02:00:00:00:00:01"),
        };
        faults.push(Violation::new(Part::MacAddress(index), reason));
    }
    macs
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: PortFields<'static> =
        PortFields { device: "pf0vf0", enabled: true, mtu: 0, mac_addresses: &[], anti_spoof: false };

    fn faults(fields: &PortFields<'_>) -> Vec<(String, Reason)> {
        let violations = PortSpec::parse(fields).expect_err("the spec is invalid");
        violations.into_iter().map(|v| (v.field(), v.reason)).collect()
    }

    #[test]
    fn a_spec_with_only_a_device_has_the_documented_defaults() {
        let spec = PortSpec::parse(&FIELDS).expect("valid");
        assert_eq!((spec.mtu(), spec.enabled(), spec.anti_spoof()), (1500, true, false));
        assert_eq!(spec.policy().source_macs, None);
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let macs = ["02:00:00:00:00:01", "x", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01"].map(str::to_owned);
        let fields = PortFields { device: "eth0", mtu: 9217, mac_addresses: &macs, ..FIELDS };
        let fields: Vec<String> = faults(&fields).into_iter().map(|(field, _)| field).collect();
        let expected = [
            "spec.device",
            "spec.mtu",
            "spec.macAddresses[1]",
            "spec.macAddresses[2]",
            "spec.macAddresses[3]",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_edges_of_the_ranges_are_as_documented() {
        let mtu = |mtu| PortSpec::parse(&PortFields { mtu, ..FIELDS }).is_ok();
        assert!(mtu(68) && mtu(9216));
        assert!(!mtu(67) && !mtu(9217) && !mtu(65_536 + 1500));
        let macs: Vec<String> = (0..=MAX_PORT_MACS).map(|n| format!("02:00:00:00:00:{n:02x}")).collect();
        assert!(PortSpec::parse(&PortFields { mac_addresses: &macs[1..], ..FIELDS }).is_ok());
        assert_eq!(
            faults(&PortFields { mac_addresses: &macs, ..FIELDS }),
            [("spec.macAddresses".to_owned(), Reason::OutOfRange { min: 0, max: 16 })]
        );
    }

    #[test]
    fn anti_spoof_without_an_address_is_refused_because_it_would_close_the_port() {
        let found = faults(&PortFields { anti_spoof: true, ..FIELDS });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "spec.macAddresses");
    }
}
