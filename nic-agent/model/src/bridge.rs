//! The Bridge resource.

use nic_policy::{BridgeId, Overlay, VtepId};

use crate::name::{Kind, ResourceId};
use crate::violation::{Faults, Part, Reason, Violation, number};

/// The largest VXLAN network identifier (RFC 7348 section 5).
pub const MAX_VNI: u32 = (1 << 24) - 1;
/// The shortest ageing time, in seconds: longer than a flow of the cache is idle.
pub const MIN_AGEING_TIME: u32 = 20;
/// The longest ageing time, in seconds (IEEE 802.1Q table 8-6).
pub const MAX_AGEING_TIME: u32 = 1_000_000;
/// The ageing time of a bridge that names none, in seconds (IEEE 802.1Q table 8-6).
pub const DEFAULT_AGEING_TIME: u32 = 300;

/// What a client wants of a bridge. Always valid but for its references, which the
/// [`State`](crate::State) resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    overlay: Option<(ResourceId, u32)>,
    flood_unknown: bool,
    ageing_time: u32,
    suppression: bool,
}

/// A bridge's spec as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct BridgeFields<'a> {
    /// The name of the Vtep; empty for none.
    pub vtep: &'a str,
    /// VXLAN network identifier; 0 for none.
    pub vni: u32,
    /// Whether frames to unknown unicast addresses go to every member.
    pub flood_unknown: bool,
    /// Seconds; 0 means [`DEFAULT_AGEING_TIME`].
    pub ageing_time: u32,
    /// Whether requests for addresses that are known are answered.
    pub suppression: bool,
}

impl Default for BridgeFields<'_> {
    fn default() -> Self {
        BridgeFields { vtep: "", vni: 0, flood_unknown: true, ageing_time: 0, suppression: false }
    }
}

impl BridgeSpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(fields: &BridgeFields<'_>) -> Result<BridgeSpec, Vec<Violation>> {
        let mut faults = Faults::default();
        let vtep = faults.check(Part::Vtep, Kind::Vtep.reference(fields.vtep));
        let vni = faults.check(Part::Vni, number(fields.vni, 1..=MAX_VNI, 0));
        let overlay = match (vtep.flatten(), vni) {
            (Some(vtep), Some(vni)) if vni != 0 => Some((vtep, vni)),
            (Some(_), Some(_)) => {
                faults.push(Part::Vni, Reason::Required);
                None
            }
            (None, Some(vni)) if vni != 0 && fields.vtep.is_empty() => {
                faults.push(Part::Vtep, Reason::Required);
                None
            }
            _ => None,
        };
        let range = MIN_AGEING_TIME..=MAX_AGEING_TIME;
        let ageing_time =
            faults.check(Part::AgeingTime, number(fields.ageing_time, range, DEFAULT_AGEING_TIME));
        faults.finish(ageing_time.map(|ageing_time| BridgeSpec {
            overlay,
            flood_unknown: fields.flood_unknown,
            ageing_time,
            suppression: fields.suppression,
        }))
    }

    /// The Vtep that carries the bridge, if one does.
    pub fn vtep(&self) -> Option<&ResourceId> {
        self.overlay.as_ref().map(|(vtep, _)| vtep)
    }

    /// The VXLAN network identifier there.
    pub fn vni(&self) -> Option<u32> {
        self.overlay.as_ref().map(|(_, vni)| *vni)
    }

    /// Whether a frame to an unknown unicast address goes to every member; else it is dropped.
    pub const fn flood_unknown(&self) -> bool {
        self.flood_unknown
    }

    /// Seconds after which a learned address that nobody sends from is forgotten.
    pub const fn ageing_time(&self) -> u32 {
        self.ageing_time
    }

    /// Whether requests for addresses that are known are answered.
    pub const fn suppression(&self) -> bool {
        self.suppression
    }

    /// The policy that this spec becomes; `None` if `vtep` does not know the Vtep.
    pub fn policy(
        &self,
        id: BridgeId,
        vtep: impl Fn(&ResourceId) -> Option<VtepId>,
    ) -> Option<nic_policy::Bridge> {
        let overlay = match &self.overlay {
            None => None,
            Some((name, vni)) => Some(Overlay { vtep: vtep(name)?, vni: *vni }),
        };
        Some(nic_policy::Bridge {
            id,
            overlay,
            flood_unknown: self.flood_unknown,
            ageing_time: self.ageing_time,
            suppression: self.suppression,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(fields: &BridgeFields<'_>) -> Vec<(String, Reason)> {
        let violations = BridgeSpec::parse(fields).expect_err("the spec is invalid");
        violations.into_iter().map(|v| (v.field(), v.reason)).collect()
    }

    #[test]
    fn an_empty_spec_is_a_bridge_of_this_card_alone_with_the_documented_defaults() {
        let spec = BridgeSpec::parse(&BridgeFields::default()).expect("valid");
        assert_eq!((spec.vtep(), spec.vni(), spec.ageing_time()), (None, None, 300));
        assert!(spec.flood_unknown() && !spec.suppression());
    }

    #[test]
    fn a_vtep_and_a_vni_are_given_together() {
        let fields = BridgeFields { vtep: "vteps/a", ..BridgeFields::default() };
        assert_eq!(faults(&fields), [("spec.vni".to_owned(), Reason::Required)]);
        let fields = BridgeFields { vni: 7, ..BridgeFields::default() };
        assert_eq!(faults(&fields), [("spec.vtep".to_owned(), Reason::Required)]);
        let both = BridgeSpec::parse(&BridgeFields { vtep: "vteps/a", vni: 7, ..BridgeFields::default() });
        assert_eq!(both.expect("valid").vni(), Some(7));
    }

    #[test]
    fn the_edges_of_the_ranges_are_as_documented() {
        let vni = |vni| BridgeSpec::parse(&BridgeFields { vtep: "vteps/a", vni, ..BridgeFields::default() });
        assert!(vni(1).is_ok() && vni(16_777_215).is_ok() && vni(16_777_216).is_err());
        let age = |ageing_time| BridgeSpec::parse(&BridgeFields { ageing_time, ..BridgeFields::default() });
        assert!(age(20).is_ok() && age(1_000_000).is_ok() && age(19).is_err() && age(1_000_001).is_err());
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let fields =
            BridgeFields { vtep: "bridges/a", vni: 1 << 24, ageing_time: 1, ..BridgeFields::default() };
        let fields: Vec<String> = faults(&fields).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["spec.vtep", "spec.vni", "spec.ageingTime"]);
    }
}
