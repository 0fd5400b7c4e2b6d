//! Read and write cells in layers: what the driver supplied, what the block changed, what this call changes.
//!
//! Lists are counters with numbered slots. Additions and removals are only noted while a block runs and are
//! carried out in the order of their ids at its end, so that the order of independent transactions does not
//! show in the state.

use crate::{
    block::BlockContext,
    cell::{Cell, Key},
    credits::params::CreditRules,
    error::TxError,
    event::Event,
    genesis::{NetworkPolicy, Params},
    keys,
    record::{ListLength, ListPosition, ListSlot, Record, Stored},
    referee::Referee,
};
use std::collections::BTreeMap;
use tessera_canon::Hash;

/// Why a call ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// These keys are not supplied.
    Need(Vec<Key>),
    /// The transaction is refused.
    Refused(TxError),
}
impl From<TxError> for Stop {
    fn from(error: TxError) -> Self {
        Self::Refused(error)
    }
}

pub(crate) type Cells = BTreeMap<Key, Option<Cell>>;
/// (list, id) -> added (true) or removed (false).
pub(crate) type ListChanges = BTreeMap<(Hash, Hash), bool>;

/// Effects that are kept or dropped as a whole.
#[derive(Clone, Default)]
pub(crate) struct Effects {
    pub(crate) cells: Cells,
    pub(crate) lists: BTreeMap<(Hash, Hash), Option<bool>>,
    pub(crate) events: Vec<Event>,
}

/// The state as one call sees it.
pub(crate) struct View<'a> {
    pub(crate) context: &'a BlockContext,
    pub(crate) referee: &'a dyn Referee,
    supplied: &'a Cells,
    block: &'a Cells,
    lists: &'a ListChanges,
    pub(crate) effects: Effects,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        context: &'a BlockContext,
        referee: &'a dyn Referee,
        supplied: &'a Cells,
        block: &'a Cells,
        lists: &'a ListChanges,
    ) -> Self {
        Self { context, referee, supplied, block, lists, effects: Effects::default() }
    }

    fn find(&self, key: &Key) -> Option<&Option<Cell>> {
        self.effects.cells.get(key).or_else(|| self.block.get(key)).or_else(|| self.supplied.get(key))
    }
    /// Ask for several keys at once, which saves the driver round trips.
    pub(crate) fn want(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), Stop> {
        let missing: Vec<Key> = keys.into_iter().filter(|key| self.find(key).is_none()).collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Need(missing)) }
    }
    /// The value at `key`. A cell that does not decode as `T` reads as absent: this crate never writes one.
    pub(crate) fn get<T: Stored>(&self, key: &Key) -> Result<Option<T>, Stop> {
        match self.find(key) {
            None => Err(Stop::Need(vec![*key])),
            Some(cell) => Ok(cell.as_ref().and_then(Cell::unpack).and_then(T::from_record)),
        }
    }
    /// The value at `key`, or `Unknown`.
    pub(crate) fn must<T: Stored>(
        &self,
        key: &Key,
        what: &'static str,
        id: impl ToString,
    ) -> Result<T, Stop> {
        self.get(key)?.ok_or_else(|| TxError::Unknown { what, id: id.to_string() }.into())
    }
    pub(crate) fn put(&mut self, key: Key, value: impl Into<Record>) {
        self.effects.cells.insert(key, Some(Cell::pack(&value.into())));
    }
    pub(crate) fn delete(&mut self, key: Key) {
        self.effects.cells.insert(key, None);
    }
    pub(crate) fn emit(&mut self, event: impl Into<Event>) {
        self.effects.events.push(event.into());
    }
    pub(crate) fn params(&self) -> Result<Params, Stop> {
        Ok(self.get(&keys::params())?.unwrap_or_default())
    }
    /// What runs begin with, and its bounds.
    pub(crate) fn defaults(&self) -> Result<NetworkPolicy, Stop> {
        let none = || NetworkPolicy { policy: Default::default(), bounds: Default::default() };
        Ok(self.get(&keys::defaults())?.unwrap_or_else(none))
    }

    /// Run `step`; if it is refused, take back its effects, and only those, and return why.
    pub(crate) fn attempt(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<Result<(), TxError>, Stop> {
        let before = self.effects.clone();
        match step(self) {
            Ok(()) => Ok(Ok(())),
            Err(Stop::Refused(error)) => {
                self.effects = before;
                Ok(Err(error))
            }
            Err(need) => Err(need),
        }
    }
    /// Network parameters of credits, sessions and hosts.
    pub(crate) fn rules(&self) -> Result<CreditRules, Stop> {
        Ok(self.get(&keys::rules())?.unwrap_or_default())
    }

    fn change_list(&mut self, list: Hash, id: Hash, add: bool) {
        let before = match self.effects.lists.get(&(list, id)) {
            Some(change) => *change,
            None => self.lists.get(&(list, id)).copied(),
        };
        // An addition and a removal in one block cancel out.
        let after = if before == Some(!add) { None } else { Some(add) };
        self.effects.lists.insert((list, id), after);
    }
    /// Put `id` on `list` at the end of the block. The caller makes sure that it is not there.
    pub(crate) fn list_add(&mut self, list: Hash, id: Hash) {
        self.change_list(list, id, true);
    }
    /// Take `id` from `list` at the end of the block. The caller makes sure that it is there.
    pub(crate) fn list_remove(&mut self, list: Hash, id: Hash) {
        self.change_list(list, id, false);
    }
    /// The items of `list` as they stood at the start of the block.
    pub(crate) fn list_items(&self, list: &Hash) -> Result<Vec<Hash>, Stop> {
        let count = self.get::<ListLength>(&keys::list_length(list))?.map_or(0, |l| l.count);
        self.want((0..count).map(|at| keys::list_slot(list, at)))?;
        let mut items = Vec::new();
        for at in 0..count {
            items.extend(self.get::<ListSlot>(&keys::list_slot(list, at))?.map(|slot| slot.id));
        }
        Ok(items)
    }

    /// Carry out the block's list changes: removals by moving the last item into the gap, then additions.
    pub(crate) fn flush_lists(&mut self) -> Result<(), Stop> {
        let changes: Vec<((Hash, Hash), bool)> = self.lists.iter().map(|(k, add)| (*k, *add)).collect();
        self.want(changes.iter().map(|((list, _), _)| keys::list_length(list)))?;
        self.want(
            changes.iter().filter(|(_, add)| !add).map(|((list, id), _)| keys::list_position(list, id)),
        )?;
        for ((list, id), _) in changes.iter().filter(|(_, add)| !add) {
            let count = self.get::<ListLength>(&keys::list_length(list))?.map_or(0, |l| l.count);
            let Some(gone) = self.get::<ListPosition>(&keys::list_position(list, id))? else { continue };
            let Some(last) = count.checked_sub(1) else { continue };
            if let Some(mut moved) = self.get::<ListSlot>(&keys::list_slot(list, last))?
                && gone.at != last
            {
                moved.at = gone.at;
                self.put(
                    keys::list_position(list, &moved.id),
                    ListPosition { list: *list, id: moved.id, at: gone.at },
                );
                self.put(keys::list_slot(list, gone.at), moved);
            }
            self.delete(keys::list_slot(list, last));
            self.delete(keys::list_position(list, id));
            self.set_length(list, last);
        }
        for ((list, id), _) in changes.iter().filter(|(_, add)| *add) {
            let count = self.get::<ListLength>(&keys::list_length(list))?.map_or(0, |l| l.count);
            self.put(keys::list_slot(list, count), ListSlot { list: *list, at: count, id: *id });
            self.put(keys::list_position(list, id), ListPosition { list: *list, id: *id, at: count });
            self.set_length(list, count + 1);
        }
        Ok(())
    }
    fn set_length(&mut self, list: &Hash, count: u64) {
        if count == 0 {
            self.delete(keys::list_length(list));
        } else {
            self.put(keys::list_length(list), ListLength { list: *list, count });
        }
    }
}
