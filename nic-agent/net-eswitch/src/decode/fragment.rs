//! Fragmentation: bits of a header in `rte_flow`, one of three states in the key ([`Frag`]).

use nic_flow::field::Frag;

use super::fault::Part;

/// The bit of `has_frag_ext` among the extension headers of an IPv6 item.
pub(crate) const EXTENSION: u32 = 1 << 2;

const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const BOTH: u16 = MORE | OFFSET;
const WHOLE: u128 = 3;

/// Value and mask of the state for `fragment_offset` of an IPv4 item, in host order. Fragments are
/// what no single value and mask can say: those are refused, by the part at fault.
pub(crate) fn of_ipv4(spec: u16, last: Option<u16>, mask: u16) -> Result<(u128, u128), Part> {
    let is = |state: Frag| Ok((state as u128, WHOLE));
    let spec = spec & mask;
    let last = last.map(|last| last & mask).filter(|&last| last != 0 && last != spec);
    match (mask, last) {
        (0, _) => Ok((0, 0)),
        _ if mask & !BOTH != 0 => Err(Part::Mask),
        (_, None) => match (mask, spec) {
            (BOTH, 0) => is(Frag::No),
            (BOTH, MORE) => is(Frag::First),
            // An offset of zero: no fragment, or the first one. Both have zero in the bit of `Later`.
            (OFFSET, 0) => Ok((0, Frag::Later as u128)),
            (BOTH, _) => Err(Part::Spec),
            _ => Err(Part::Mask),
        },
        // Any offset but zero.
        (OFFSET, Some(OFFSET)) if spec == 1 => is(Frag::Later),
        (_, Some(_)) => Err(Part::Last),
    }
}

/// The same for `has_frag_ext` of an IPv6 item: it tells fragments from others, and not first from
/// later ones.
pub(crate) const fn of_ipv6(spec: u32, mask: u32) -> Result<(u128, u128), Part> {
    match (mask & EXTENSION, spec & EXTENSION) {
        (0, _) => Ok((0, 0)),
        (_, 0) => Ok((Frag::No as u128, WHOLE)),
        _ => Err(Part::Spec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the key says of a packet with this field.
    fn state(field: u16) -> u128 {
        (match (field & OFFSET, field & MORE) {
            (0, 0) => Frag::No,
            (0, _) => Frag::First,
            _ => Frag::Later,
        }) as u128
    }

    #[test]
    fn what_ovs_sends_is_understood_but_for_any_fragment() {
        assert_eq!(of_ipv4(0, None, BOTH), Ok((Frag::No as u128, WHOLE)));
        assert_eq!(of_ipv4(MORE, None, BOTH), Ok((Frag::First as u128, WHOLE)));
        assert_eq!(of_ipv4(1, Some(OFFSET), OFFSET), Ok((Frag::Later as u128, WHOLE)));
        assert_eq!(of_ipv4(MORE, Some(BOTH), BOTH), Err(Part::Last));
        assert_eq!(of_ipv4(MORE, None, MORE), Err(Part::Mask));
        assert_eq!(of_ipv4(5, None, BOTH), Err(Part::Spec));
    }

    #[test]
    fn an_accepted_match_on_fragments_means_what_rte_flow_says() {
        let edges = [0, 1, 2, OFFSET - 1, OFFSET, MORE, MORE | 1, MORE | OFFSET];
        let mut accepted = 0;
        for mask in [0, 1, OFFSET, MORE, MORE | OFFSET, 0x4000] {
            for spec in edges {
                for last in edges.map(Some).into_iter().chain([None]) {
                    let Ok((value, bits)) = of_ipv4(spec, last, mask) else { continue };
                    accepted += 1;
                    for field in 0..=MORE | OFFSET {
                        let low = spec & mask;
                        let high = last.map_or(low, |last| last & mask);
                        let high = if high == 0 { low } else { high };
                        let expected = (low..=high).contains(&(field & mask));
                        assert_eq!(
                            state(field) & bits == value & bits,
                            expected,
                            "spec {spec:#x} last {last:?} mask {mask:#x} field {field:#x}"
                        );
                    }
                }
            }
        }
        assert!(accepted > 10);
    }
}
