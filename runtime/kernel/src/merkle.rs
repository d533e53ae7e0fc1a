//! Merkle trees as in RFC 6962: one root for many leaves, and a short proof for each of them.
//!
//! A tree only ever grows at its right end, so whoever keeps the roots of its full subtrees (at
//! most 64 of them, the *frontier*) can go on without ever looking at the leaves again.
//!
//! **Invariant:** leaves and nodes are hashed with different prefixes, so that no node can be
//! passed off as a leaf.

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// The hash of a leaf that holds `data`.
#[must_use]
pub fn leaf(data: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
}

/// The hash of a node over two others.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    Digest(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// A tree that grows: the roots of its full subtrees, and the way to one leaf if one is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// From left to right, hence from the largest to the smallest; one for each bit of `size`.
    peaks: Vec<Digest>,
    followed: Option<Followed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Followed {
    index: u64,
    /// Which of the peaks the leaf lies below.
    peak: Option<usize>,
    path: Vec<Digest>,
}

impl Frontier {
    /// An empty tree that remembers the way from the leaf `index`, from 0, to the root.
    #[must_use]
    pub fn following(index: u64) -> Self {
        let followed = Followed { index, peak: None, path: Vec::new() };
        Self { followed: Some(followed), ..Self::default() }
    }

    /// A tree of `size` leaves from what [`to_bytes`](Self::to_bytes) gave; none if it is no such.
    #[must_use]
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (peaks, rest) = bytes.as_chunks::<32>();
        let is_whole = rest.is_empty() && peaks.len() == size.count_ones() as usize;
        is_whole.then(|| Self {
            size,
            peaks: peaks.iter().copied().map(Digest).collect(),
            followed: None,
        })
    }

    /// The roots of the full subtrees, from left to right.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.peaks.iter().flat_map(|peak| peak.0).collect()
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, by its [hash](leaf), at the right end.
    pub fn push(&mut self, leaf: Digest) {
        let mut new = leaf;
        let mut is_followed = self.followed.as_ref().is_some_and(|it| it.index == self.size);
        for _ in 0..self.size.trailing_ones() {
            // There is a peak for each bit of the size.
            let Some(left) = self.peaks.pop() else { break };
            let beside = self.peaks.len();
            if let Some(followed) = &mut self.followed {
                is_followed = followed.join(&left, beside, &new, is_followed);
            }
            new = node(&left, &new);
        }
        if let Some(followed) = self.followed.as_mut().filter(|_| is_followed) {
            followed.peak = Some(self.peaks.len());
        }
        self.peaks.push(new);
        self.size += 1;
    }

    /// The root; of an empty tree, the digest of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Digest::of(&[]) };
        peaks.fold(*last, |right, left| node(left, &right))
    }

    /// The way from the followed leaf to the root, from the bottom up; none if it is not there yet.
    #[must_use]
    pub fn path(&self) -> Option<Vec<Digest>> {
        let mut followed = self.followed.clone()?;
        followed.peak?;
        let (last, lefts) = self.peaks.split_last()?;
        let mut is_followed = followed.peak == Some(lefts.len());
        let mut right = *last;
        for (index, left) in lefts.iter().enumerate().rev() {
            is_followed = followed.join(left, index, &right, is_followed);
            right = node(left, &right);
        }
        Some(followed.path)
    }
}

impl Followed {
    /// Notes what lies beside the leaf's own side; answers whether either side holds the leaf.
    fn join(&mut self, left: &Digest, beside: usize, right: &Digest, right_holds: bool) -> bool {
        if self.peak == Some(beside) {
            self.path.push(*right);
            return true;
        }
        if right_holds {
            self.path.push(*left);
        }
        right_holds
    }
}

/// Where `path` leads from the leaf `index`, from 0, of a tree of `size` leaves; none if no path of
/// such a leaf has this length.
#[must_use]
pub fn root_by(path: &[Digest], index: u64, size: u64, leaf: Digest) -> Option<Digest> {
    let mut last = size.checked_sub(1).filter(|last| index <= *last)?;
    let mut index = index;
    let mut root = leaf;
    for beside in path {
        if last == 0 {
            return None;
        }
        if index % 2 == 1 || index == last {
            root = node(beside, &root);
            // Where the right end is ragged, there is nothing beside the way for some levels.
            let levels = index.trailing_zeros();
            index = index.checked_shr(levels)?;
            last = last.checked_shr(levels)?;
        } else {
            root = node(&root, beside);
        }
        index /= 2;
        last /= 2;
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 6962, word for word.
    fn defined_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(&[]),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&defined_root(&many[..split]), &defined_root(&many[split..]))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    proptest! {
        #[test]
        fn a_tree_that_grew_has_the_root_of_the_definition(count in 0_usize..200) {
            let leaves = leaves(count);
            let mut tree = Frontier::default();
            for leaf in &leaves {
                let kept = tree.to_bytes();
                tree = Frontier::from_bytes(tree.size(), &kept).expect("it was a tree");
                tree.push(*leaf);
            }

            prop_assert_eq!(tree.root(), defined_root(&leaves));
        }

        #[test]
        fn every_leaf_is_proven_and_no_other(
            count in 1_usize..100,
            at in any::<prop::sample::Index>(),
        ) {
            let (leaves, index) = (leaves(count), at.index(count));
            let mut tree = Frontier::following(index as u64);
            for leaf in &leaves {
                tree.push(*leaf);
            }
            let path = tree.path().expect("the leaf is there");

            let root_from = |index, size, leaf| root_by(&path, index, size, leaf);
            let (index, size) = (index as u64, count as u64);

            prop_assert_eq!(root_from(index, size, leaves[at.index(count)]), Some(tree.root()));
            prop_assert_ne!(root_from(index, size, leaf(b"another")), Some(tree.root()));
            prop_assert_eq!(root_from(size, size, leaves[at.index(count)]), None);
        }
    }

    #[test]
    fn a_frontier_of_the_wrong_length_is_refused() {
        assert_eq!(Frontier::from_bytes(3, &[0; 32]), None);
        assert_eq!(Frontier::from_bytes(1, &[0; 31]), None);
    }
}
