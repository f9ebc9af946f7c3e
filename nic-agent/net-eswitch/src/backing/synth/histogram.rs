//! Times, counted by size: exact below 64 ns, and to one part in 32 above.

/// Parts of each doubling.
const PARTS: usize = 32;
/// Doublings: times up to 2^40 ns, 18 minutes, are told apart.
const DOUBLINGS: usize = 36;

/// How often times were seen.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn new() -> Histogram {
        Histogram { counts: vec![0; PARTS * (DOUBLINGS + 1)], total: 0, max: 0 }
    }

    pub(super) fn add(&mut self, nanos: u64) {
        let place = place(nanos).min(self.counts.len() - 1);
        self.counts[place] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// The largest time.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// A time that so many of 1000 are not above, at most one part in 32 too large; 0 if there is none.
    pub(super) fn permille(&self, permille: u64) -> u64 {
        let wanted = (self.total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        place.map_or(0, |place| largest(place).min(self.max))
    }
}

/// Where a time is counted: the steps are 1 ns wide up to 64 ns, and double with each doubling.
fn place(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(PARTS.ilog2()) as usize;
    shift * PARTS + (nanos >> shift) as usize
}

/// The largest time of a place.
fn largest(place: usize) -> u64 {
    let shift = (place / PARTS).saturating_sub(1);
    (((place - shift * PARTS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_times_to_one_part_in_32(
            mut times in prop::collection::vec((0u32..40).prop_flat_map(|bits| 0u64..1 << bits), 1..200),
            permille in 1u64..=1000,
        ) {
            let mut histogram = Histogram::new();
            times.iter().for_each(|time| histogram.add(*time));
            times.sort_unstable();
            let wanted = (times.len() as u64 * permille).div_ceil(1000) as usize;
            let (exact, told) = (times[wanted - 1], histogram.permille(permille));
            prop_assert!(exact <= told && told <= exact + exact / 32, "{} is told as {}", exact, told);
            prop_assert_eq!(histogram.max(), times[times.len() - 1]);
        }
    }

    #[test]
    fn nothing_has_no_median_and_a_time_of_ages_is_counted() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.permille(500), 0);
        histogram.add(u64::MAX);
        assert_eq!(histogram.max(), u64::MAX);
        assert!(histogram.permille(500) >= 1 << 40);
    }
}
