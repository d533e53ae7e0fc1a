//! Lanes: a consumer divided by organisation, and how one division follows another. Pure.
//!
//! Each lane has its own cursor, so one slow organisation holds up no more than its lane. All
//! events of an organisation fall into one lane, which keeps their order.
//!
//! When the number of lanes changes, the new ones begin where the furthest behind of the old ones
//! stood, and remember where each of the old ones stood. An event that its old lane had passed is
//! passed over: nothing is lost, nothing is done twice, and nobody waits for the others first.

use kernel::{OrgId, Position};

/// One lane of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    /// From 1.
    pub(crate) number: u16,
    /// How many there are.
    pub(crate) count: u16,
}

impl Lane {
    /// The only lane.
    pub(crate) const ONLY: Self = Self { number: 1, count: 1 };

    /// All lanes of a consumer that has so many.
    pub(crate) fn all(count: u16) -> impl Iterator<Item = Self> {
        (1..=count).map(move |number| Self { number, count })
    }

    /// The lane of an organisation.
    pub(crate) fn of(org_id: OrgId, count: u16) -> Self {
        let remainder = hash(org_id) % u32::from(count);
        Self { number: u16::try_from(remainder).unwrap_or_default() + 1, count }
    }

    /// The name of its cursor.
    pub(crate) fn name(self, consumer: &str) -> String {
        match self.count {
            1 => consumer.to_owned(),
            count => format!("{consumer}#{}/{count}", self.number),
        }
    }

    /// The lane whose cursor has this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let Some((_, lane)) = name.split_once('#') else { return Some(Self::ONLY) };
        let (number, count) = lane.split_once('/')?;
        Some(Self { number: number.parse().ok()?, count: count.parse().ok()? })
    }
}

/// The last four bytes of the organisation's id, which are random there.
fn hash(org_id: OrgId) -> u32 {
    let [.., a, b, c, d] = org_id.uuid().into_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Where the lanes of an earlier layout stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The position of each lane, in their order.
    pub(super) positions: Vec<Position>,
}

impl Layout {
    fn position_of(&self, org_id: OrgId) -> Position {
        let count = u16::try_from(self.positions.len()).unwrap_or(u16::MAX);
        self.positions[usize::from(Lane::of(org_id, count).number - 1)]
    }
}

/// The earlier layouts whose furthest lane a lane has not passed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Passed(Vec<Layout>);

impl Passed {
    /// Up to where the events of an organisation were passed in an earlier layout.
    pub(super) fn of(&self, org_id: OrgId) -> Position {
        let passed = self.0.iter().map(|layout| layout.position_of(org_id));
        passed.max().unwrap_or(Position::ORIGIN)
    }

    /// Remembers the layouts that `other` knows of.
    pub(super) fn merge(&mut self, other: Self) {
        for layout in other.0 {
            if !self.0.contains(&layout) {
                self.0.push(layout);
            }
        }
    }

    /// Remembers one more layout.
    pub(super) fn add(&mut self, layout: Layout) {
        self.merge(Self(vec![layout]));
    }

    /// Forgets the layouts that lie behind a lane at `position`.
    pub(super) fn forget(&mut self, position: Position) {
        self.0.retain(|layout| layout.positions.iter().any(|stood| *stood > position));
    }

    /// As the table has it: the number of lanes, then a position for each; repeated. `None` when
    /// there is nothing to remember.
    pub(super) fn column(&self) -> Option<Vec<i64>> {
        let numbers = self.0.iter().flat_map(|layout| {
            let count = i64::try_from(layout.positions.len()).unwrap_or_default();
            [count].into_iter().chain(layout.positions.iter().map(|position| position.0))
        });
        let numbers: Vec<i64> = numbers.collect();
        (!numbers.is_empty()).then_some(numbers)
    }

    pub(super) fn from_column(numbers: Option<&[i64]>) -> Self {
        let mut layouts = Vec::new();
        let mut rest = numbers.unwrap_or_default();
        while let Some((count, after)) = rest.split_first() {
            let count = usize::try_from(*count).unwrap_or_default().min(after.len());
            let (positions, after) = after.split_at(count);
            if !positions.is_empty() {
                let positions = positions.iter().copied().map(Position).collect();
                layouts.push(Layout { positions });
            }
            rest = after;
        }
        Self(layouts)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn organisation(hash: u128) -> OrgId {
        OrgId::from_uuid(Uuid::from_u128((7 << 76) | hash))
    }

    fn layout(positions: &[i64]) -> Layout {
        Layout { positions: positions.iter().copied().map(Position).collect() }
    }

    #[test]
    fn an_organisation_has_one_lane_in_every_layout() {
        assert_eq!(Lane::of(organisation(6), 4), Lane { number: 3, count: 4 });
        assert_eq!(Lane::of(organisation(6), 1), Lane::ONLY);
    }

    #[test]
    fn a_lane_is_found_again_by_the_name_of_its_cursor() {
        for lane in Lane::all(3).chain(Lane::all(1)) {
            assert_eq!(Lane::named(&lane.name("pulse.draft")), Some(lane));
        }
    }

    #[test]
    fn an_event_is_passed_where_any_earlier_layout_passed_it() {
        let mut passed = Passed::default();
        passed.add(layout(&[10, 30]));
        passed.add(layout(&[20]));

        assert_eq!(passed.of(organisation(0)), Position(20));
        assert_eq!(passed.of(organisation(1)), Position(30));
        passed.forget(Position(20));
        assert_eq!(passed.of(organisation(0)), Position(10));
        passed.forget(Position(30));
        assert_eq!(passed, Passed::default());
    }

    #[test]
    fn what_the_table_has_is_what_was_put_there() {
        let mut passed = Passed::default();
        assert_eq!(passed.column(), None);
        passed.add(layout(&[10, 30]));
        passed.add(layout(&[20]));

        let column = passed.column();

        assert_eq!(column.as_deref(), Some(&[2, 10, 30, 1, 20][..]));
        assert_eq!(Passed::from_column(column.as_deref()), passed);
    }
}
