//! Keys, masks and ranks for property tests: few values, so that hits are as common as misses, and
//! spread over all words of a key, so that no word is forgotten.

use std::vec::Vec;

use nic_flow::{Field, FlowKey, FlowMask};
use proptest::prelude::*;

/// The fields that keys differ in.
const FIELDS: &[Field] = &[
    Field::InPort,
    Field::EthType,
    Field::EthDst,
    Field::EthSrc,
    Field::IpProto,
    Field::L4Dst,
    Field::IpSrc,
    Field::IpDst,
    Field::ArpTha,
    Field::Vni,
    Field::TunEthDst,
    Field::TunEthSrc,
    Field::TunIpDst,
    Field::TunArpTha,
];

/// A value with bits at both ends of the field.
fn spread(field: Field, two_bits: u8) -> u128 {
    let top = (u128::from(two_bits) >> 1) << (field.place().width - 1);
    top | u128::from(two_bits & 1)
}

/// A key in which each field has one of four values, most often zero.
pub(crate) fn key() -> impl Strategy<Value = FlowKey> {
    let two_bits = prop_oneof![3 => Just(0u8), 1 => 0u8..4];
    proptest::collection::vec(two_bits, FIELDS.len()).prop_map(|bits| {
        let fields = FIELDS.iter().zip(bits);
        fields.fold(FlowKey::ZERO, |key, (&field, bits)| key.with(field, spread(field, bits)))
    })
}

/// A mask of a few fields: whole, their highest bit, or their lowest.
pub(crate) fn mask() -> impl Strategy<Value = FlowMask> {
    let kinds = prop_oneof![4 => Just(0u8), 1 => 1u8..4];
    proptest::collection::vec(kinds, FIELDS.len()).prop_map(|kinds| {
        let fields = FIELDS.iter().zip(kinds);
        fields.fold(FlowMask::EMPTY, |mask, (&field, kind)| {
            mask.with(field, if kind == 3 { u128::MAX } else { spread(field, kind) })
        })
    })
}

/// A few masks, of which the entries of one test take theirs: several entries share a mask.
pub(crate) fn masks() -> impl Strategy<Value = Vec<FlowMask>> {
    proptest::collection::vec(mask(), 1..6)
}
