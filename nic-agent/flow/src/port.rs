//! Ports of the E-Switch, by their stable device names.

use core::fmt;
use core::str::FromStr;

/// A port of the E-Switch. The id *is* the stable device name, in 16 bits, so it means the same in
/// every process and survives a restart; nothing hands out port numbers.
///
/// | name | port |
/// |---|---|
/// | `p0` .. `p15` | an uplink, a physical port of the card |
/// | `pf0hpf` .. `pf15hpf` | the host's physical function behind an uplink |
/// | `pf0vf0` .. `pf15vf1023` | a virtual function of the host |
/// | `mgmt` | the card's own kernel, for its management in band; no port of the E-Switch |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u16);

/// What a [`PortId`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// A physical port of the card, 0 to 15.
    Uplink(u8),
    /// The host's physical function, 0 to 15.
    HostPf(u8),
    /// A virtual function of the host.
    Vf {
        /// The physical function it belongs to, 0 to 15.
        pf: u8,
        /// Its number there, 0 to 1023.
        vf: u16,
    },
    /// The exception port to the card's own kernel.
    Management,
}

const UPLINK: u16 = 0x0000;
const HOST_PF: u16 = 0x0100;
const MANAGEMENT: u16 = 0x0200;
const VF: u16 = 0x8000;

impl PortId {
    /// Uplinks and physical functions are numbered below this.
    pub const MAX_PF: u8 = 16;
    /// Virtual functions of one physical function are numbered below this.
    pub const MAX_VF: u16 = 1024;

    /// The exception port: frames of the card's own kernel come by it, and leave to it. No policy is about
    /// it, and no rule of the E-Switch knows it.
    pub const MANAGEMENT: PortId = PortId(MANAGEMENT);

    /// The uplink of that number; `None` from [`PortId::MAX_PF`] on.
    pub const fn uplink(n: u8) -> Option<PortId> {
        if n < Self::MAX_PF { Some(PortId(UPLINK | n as u16)) } else { None }
    }

    /// The host PF of that number; `None` from [`PortId::MAX_PF`] on.
    pub const fn host_pf(n: u8) -> Option<PortId> {
        if n < Self::MAX_PF { Some(PortId(HOST_PF | n as u16)) } else { None }
    }

    /// The VF of that number; `None` from [`PortId::MAX_PF`] or [`PortId::MAX_VF`] on.
    pub const fn vf(pf: u8, vf: u16) -> Option<PortId> {
        if pf < Self::MAX_PF && vf < Self::MAX_VF { Some(PortId(VF | (pf as u16) << 10 | vf)) } else { None }
    }

    /// The port as the value of [`Field::InPort`](crate::Field::InPort).
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// A port from its bits. Bits that name no port are kept: no device will ever have them.
    pub const fn from_bits(bits: u16) -> PortId {
        PortId(bits)
    }

    /// The device, or `None` if the bits name none.
    pub const fn device(self) -> Option<Device> {
        let low = (self.0 & 0x0f) as u8;
        if self.0 & VF != 0 {
            let pf = (self.0 >> 10 & 0x1f) as u8;
            if pf < Self::MAX_PF { Some(Device::Vf { pf, vf: self.0 & 0x3ff }) } else { None }
        } else {
            match self.0 & 0xfff0 {
                UPLINK => Some(Device::Uplink(low)),
                HOST_PF => Some(Device::HostPf(low)),
                _ if self.0 == MANAGEMENT => Some(Device::Management),
                _ => None,
            }
        }
    }

    /// True for a physical port of the card; the others belong to tenants on the host, or to the card's own
    /// kernel.
    pub const fn is_uplink(self) -> bool {
        matches!(self.device(), Some(Device::Uplink(_)))
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device() {
            Some(Device::Uplink(n)) => write!(f, "p{n}"),
            Some(Device::HostPf(n)) => write!(f, "pf{n}hpf"),
            Some(Device::Vf { pf, vf }) => write!(f, "pf{pf}vf{vf}"),
            Some(Device::Management) => f.write_str("mgmt"),
            None => write!(f, "none({:#06x})", self.0),
        }
    }
}

/// Why a text is no device name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsePortError {
    /// It has none of the three forms.
    Form,
    /// The physical function or uplink is not in 0..=15.
    PfRange,
    /// The virtual function is not in 0..=1023.
    VfRange,
}

impl fmt::Display for ParsePortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParsePortError::Form => "a device is named like p0, pf0hpf or pf0vf3",
            ParsePortError::PfRange => "uplinks and physical functions are numbered 0 to 15",
            ParsePortError::VfRange => "virtual functions are numbered 0 to 1023",
        })
    }
}

impl core::error::Error for ParsePortError {}

impl FromStr for PortId {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<PortId, ParsePortError> {
        use ParsePortError::{Form, PfRange, VfRange};
        if text == "mgmt" {
            return Ok(PortId::MANAGEMENT);
        }
        if let Some(rest) = text.strip_prefix("pf") {
            if let Some(pf) = rest.strip_suffix("hpf") {
                let pf = number(pf).ok_or(Form)?.try_into().map_err(|_| PfRange)?;
                return PortId::host_pf(pf).ok_or(PfRange);
            }
            let (pf, vf) = rest.split_once("vf").ok_or(Form)?;
            let (pf, vf) = (number(pf).ok_or(Form)?, number(vf).ok_or(Form)?);
            let pf = pf.try_into().ok().filter(|&pf: &u8| pf < Self::MAX_PF).ok_or(PfRange)?;
            return PortId::vf(pf, vf.try_into().map_err(|_| VfRange)?).ok_or(VfRange);
        }
        let n = text.strip_prefix('p').and_then(number).ok_or(Form)?;
        PortId::uplink(n.try_into().map_err(|_| PfRange)?).ok_or(PfRange)
    }
}

/// A decimal number in its one canonical form: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let canonical = text == "0" || (!text.starts_with('0') && text.len() <= 9);
    if canonical && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_id_that_names_a_device_reads_back_from_its_name() {
        let mut devices = 0;
        for bits in 0..=u16::MAX {
            let port = PortId::from_bits(bits);
            if port.device().is_some() {
                devices += 1;
                assert_eq!(port.to_string().parse(), Ok(port));
            }
        }
        assert_eq!(devices, 16 + 16 + 1 + 16 * 1024);
    }

    #[test]
    fn names_out_of_form_or_range_are_refused() {
        for (text, error) in [
            ("", ParsePortError::Form),
            ("p", ParsePortError::Form),
            ("p01", ParsePortError::Form),
            ("p+1", ParsePortError::Form),
            ("pf0", ParsePortError::Form),
            ("eth0", ParsePortError::Form),
            ("p16", ParsePortError::PfRange),
            ("p999", ParsePortError::PfRange),
            ("pf16vf0", ParsePortError::PfRange),
            ("pf0vf1024", ParsePortError::VfRange),
            ("pf0vf99999", ParsePortError::VfRange),
        ] {
            assert_eq!(text.parse::<PortId>(), Err(error), "{text:?}");
        }
    }
}
