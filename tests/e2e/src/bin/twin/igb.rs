//! igb.
use e2e::story::Story;
use e2e::{Lab, LabError};

use crate::card;

pub(crate) fn tell(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    card::begin(lab, story)
}
