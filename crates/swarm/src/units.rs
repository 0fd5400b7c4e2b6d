//! Count units of a step in a bit set that travels as bytes.

use tessera_canon::Blob;
use tessera_wire::training::MAX_UNITS;

/// A set of unit indices below [`MAX_UNITS`]. Canonical as bytes: no trailing zero byte.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitSet(Vec<u8>);

impl UnitSet {
    /// The set with these members.
    pub fn of(units: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        units.into_iter().for_each(|u| set.insert(u));
        set
    }
    /// Add `unit`; indices at or above [`MAX_UNITS`] are ignored, since no step has them.
    pub fn insert(&mut self, unit: u32) {
        let at = unit as usize / 8;
        if at >= MAX_UNITS / 8 {
            return;
        }
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (unit % 8);
    }
    /// Whether `unit` is a member.
    pub fn contains(&self, unit: u32) -> bool {
        self.0.get(unit as usize / 8).is_some_and(|byte| byte >> (unit % 8) & 1 == 1)
    }
    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.0.len() as u32 * 8).filter(|u| self.contains(*u))
    }
    /// Number of members.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|b| b.count_ones()).sum()
    }
    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Members of either.
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.iter().chain(other.iter()))
    }
    /// Members of both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self::of(self.iter().filter(|u| other.contains(*u)))
    }
    /// Members of `self` that are not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        Self::of(self.iter().filter(|u| !other.contains(*u)))
    }
    /// Whether every member is also in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|u| other.contains(u))
    }
    /// The bytes for a message.
    pub fn to_blob(&self) -> Blob<{ MAX_UNITS / 8 }> {
        let mut bytes = self.0.clone();
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Blob::new(bytes).expect("insert keeps every set within MAX_UNITS")
    }
    /// The set of a message's bytes.
    pub fn from_blob(blob: &Blob<{ MAX_UNITS / 8 }>) -> Self {
        let mut set = Self(blob.to_vec());
        while set.0.last() == Some(&0) {
            set.0.pop();
        }
        set
    }
}

impl std::fmt::Debug for UnitSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_like_sets() {
        let (a, b) = (UnitSet::of([0, 3, 9, 17]), UnitSet::of([3, 17, 30]));
        assert_eq!(a.union(&b), UnitSet::of([0, 3, 9, 17, 30]));
        assert_eq!(a.intersection(&b), UnitSet::of([3, 17]));
        assert_eq!(a.minus(&b).iter().collect::<Vec<_>>(), vec![0, 9]);
        assert_eq!((a.len(), a.contains(9), a.contains(8)), (4, true, false));
        assert!(UnitSet::of([3]).is_subset(&a) && !b.is_subset(&a));
        assert_eq!(UnitSet::from_blob(&a.to_blob()), a);
        assert_eq!(UnitSet::from_blob(&Blob::new(vec![1, 0, 0]).unwrap()), UnitSet::of([0]));
        let mut huge = UnitSet::default();
        huge.insert(u32::MAX);
        assert!(huge.is_empty());
    }
}
