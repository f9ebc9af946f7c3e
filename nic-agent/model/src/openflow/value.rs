//! Values in flow text: numbers, addresses, masks. Each reader says what it expected.

use std::net::{Ipv4Addr, Ipv6Addr};

use nic_flow::MacAddr;

use super::Fault;

/// A value with the bits of it that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masked {
    /// The value; zero outside the mask.
    pub(super) value: u128,
    /// The bits that count.
    pub(super) mask: u128,
}

impl Masked {
    pub(super) const fn new(value: u128, mask: u128) -> Masked {
        Masked { value: value & mask, mask }
    }
}

/// A decimal number, or a hexadecimal one with `0x`, in a range.
pub(super) fn number(text: &str, min: u64, max: u64) -> Result<u64, Fault> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if is_digits(digits, 16) => u64::from_str_radix(digits, 16),
        None if is_digits(text, 10) => text.parse(),
        _ => return Err(Fault::Expected("a number such as 80 or 0x50")),
    };
    // The digits were checked: what does not parse is too large.
    parsed.ok().filter(|n| (min..=max).contains(n)).ok_or(Fault::Range { min, max })
}

fn is_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_digit(radix))
}

/// A number up to `max`, optionally with a mask behind a slash.
pub(super) fn masked_number(text: &str, max: u64) -> Result<Masked, Fault> {
    let (value, mask) = halves(text);
    let value = number(value, 0, max)?;
    let mask = mask.map_or(Ok(max), |mask| number(mask, 0, max))?;
    Ok(Masked::new(value.into(), mask.into()))
}

/// A MAC address.
pub(super) fn mac(text: &str) -> Result<MacAddr, Fault> {
    text.parse().map_err(|_| Fault::Expected("a MAC address such as 02:00:00:00:00:01"))
}

/// A MAC address, optionally with a mask behind a slash.
pub(super) fn masked_mac(text: &str) -> Result<Masked, Fault> {
    let (value, mask) = halves(text);
    let value = mac(value)?;
    let mask = mask.map_or(Ok(MacAddr::BROADCAST), mac)?;
    Ok(Masked::new(value.to_u64().into(), mask.to_u64().into()))
}

/// An IPv4 address.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::Expected("an IPv4 address such as 10.10.1.5"))
}

/// An IPv4 address, optionally with a prefix length or a mask behind a slash. Bits outside the mask
/// do not count, as in `10.10.1.1/255.255.255.0`.
pub(super) fn masked_ipv4(text: &str) -> Result<Masked, Fault> {
    let (value, mask) = halves(text);
    let value = ipv4(value)?;
    let mask = match mask {
        None => u32::MAX,
        Some(mask) if mask.contains('.') => ipv4(mask)?.to_bits(),
        Some(length) => prefix(length, 32)? as u32,
    };
    Ok(Masked::new(value.to_bits().into(), mask.into()))
}

/// An IPv6 address.
pub(super) fn ipv6(text: &str) -> Result<Ipv6Addr, Fault> {
    text.parse().map_err(|_| Fault::Expected("an IPv6 address such as 2001:db8::1"))
}

/// An IPv6 address, optionally with a prefix length or a mask behind a slash.
pub(super) fn masked_ipv6(text: &str) -> Result<Masked, Fault> {
    let (value, mask) = halves(text);
    let value = ipv6(value)?;
    let mask = match mask {
        None => u128::MAX,
        Some(mask) if mask.contains(':') => ipv6(mask)?.to_bits(),
        Some(length) => prefix(length, 128)?,
    };
    Ok(Masked::new(value.to_bits(), mask))
}

/// The mask of a prefix length, in the low `width` bits.
fn prefix(length: &str, width: u32) -> Result<u128, Fault> {
    let length = number(length, 0, width.into())? as u32;
    let all = u128::MAX >> (128 - width);
    Ok(if length == 0 { 0 } else { all << (width - length) & all })
}

/// How many leading bits of `width` a mask has, if it has no others.
pub(super) fn prefix_length(mask: u128, width: u32) -> Option<u32> {
    let length = mask.count_ones();
    (prefix(&length.to_string(), width) == Ok(mask)).then_some(length)
}

/// The TCP flags that a key has, lowest bit first (RFC 9293 section 3.1).
const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// TCP flags as `+syn-ack`, or as a number with its mask.
pub(super) fn tcp_flags(text: &str) -> Result<Masked, Fault> {
    const EXPECTED: Fault = Fault::Expected("TCP flags as +syn-ack, or a number with its mask, as 0x02/0x12");
    if !text.starts_with(['+', '-']) {
        if !text.contains('/') {
            return Err(EXPECTED);
        }
        return masked_number(text, 0xff);
    }
    let mut flags = Masked::new(0, 0);
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let word = &rest[1..];
        let end = word.find(['+', '-']).unwrap_or(word.len());
        let bit = TCP_FLAGS.iter().position(|name| *name == &word[..end]).ok_or(EXPECTED)?;
        if flags.mask & (1 << bit) != 0 {
            return Err(Fault::Repeated);
        }
        flags.mask |= 1 << bit;
        flags.value |= u128::from(sign == '+') << bit;
        rest = &word[end..];
    }
    Ok(flags)
}

/// TCP flags in the form that [`tcp_flags`] reads.
pub(super) fn tcp_flags_text(flags: Masked) -> String {
    let mut text = String::new();
    for (bit, name) in TCP_FLAGS.iter().enumerate().filter(|(bit, _)| flags.mask >> bit & 1 != 0) {
        text.push(if flags.value >> bit & 1 != 0 { '+' } else { '-' });
        text.push_str(name);
    }
    text
}

fn halves(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)))
}
