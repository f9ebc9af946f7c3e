//! A match of which items take their bits.

use nic_flow::field::TUNNELLED;
use nic_flow::seam::Refusal;
use nic_flow::{Field, FlowMask, Match};

/// What is left of a match while items take their bits.
///
/// Fields are named as in a frame without tunnel. Behind the tunnel's header ([`Rest::enter`]) the same
/// names stand for the fields of the frame in it, so that one chain of items encodes both.
pub(super) struct Rest<'a> {
    flow: &'a Match,
    mask: FlowMask,
    inside: bool,
}

impl<'a> Rest<'a> {
    /// All of a match.
    pub(super) fn new(flow: &'a Match) -> Rest<'a> {
        Rest { flow, mask: *flow.mask(), inside: false }
    }

    /// From here on, fields are those of the frame in the tunnel.
    pub(super) fn enter(&mut self) {
        self.inside = true;
    }

    /// The field that a name stands for here.
    fn at(&self, field: Field) -> Field {
        let behind = TUNNELLED.iter().find(|(plain, _)| self.inside && *plain == field);
        behind.map_or(field, |&(_, tunnelled)| tunnelled)
    }

    /// The refusal of a field.
    pub(super) fn refuse(&self, field: Field) -> Refusal {
        Refusal::Field(self.at(field))
    }

    /// Whether any bit of a field is left.
    pub(super) fn has(&self, field: Field) -> bool {
        self.mask.get(self.at(field)) != 0
    }

    /// Whether the match has a field, of which the bits may be consumed.
    pub(super) fn names(&self, field: Field) -> bool {
        self.flow.mask().get(self.at(field)) != 0
    }

    /// The value and the mask of a field, which is consumed.
    pub(super) fn take(&mut self, field: Field) -> (u128, u128) {
        let field = self.at(field);
        let mask = self.mask.get(field);
        self.mask = self.mask.with(field, 0);
        (self.flow.key().get(field), mask)
    }

    /// The value of a field that counts in every bit or in none; it is consumed.
    pub(super) fn whole(&mut self, field: Field) -> Result<Option<u128>, Refusal> {
        match self.take(field) {
            (_, 0) => Ok(None),
            (value, mask) if mask == field.max() => Ok(Some(value)),
            _ => Err(self.refuse(field)),
        }
    }

    /// Consumes fields that are zero in every packet that the items so far match. One that the match
    /// wants otherwise can match nothing, so it has no encoding.
    pub(super) fn absent(&mut self, fields: &[Field]) -> Result<(), Refusal> {
        for &field in fields {
            if self.take(field).0 != 0 {
                return Err(self.refuse(field));
            }
        }
        Ok(())
    }

    /// Refuses a bit that no item took.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        self.mask.fields().next().map_or(Ok(()), |field| Err(Refusal::Field(field)))
    }
}
