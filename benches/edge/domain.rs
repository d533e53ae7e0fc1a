//! A domain with the least an operation can do: repeat what was said, or record it.

use platform::{Action, Command, Domain, DomainName, Event, EventType, Result, Spec, System, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const BENCH: DomainName = DomainName::new("bench");

/// A note was taken.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NoteTaken {
    /// Which note.
    pub note_id: Uuid,
    /// What it says.
    pub text: String,
}

impl Event for NoteTaken {
    const TYPE: EventType = BENCH.event("note_taken", 1);
    fn aggregate_id(&self) -> Uuid {
        self.note_id
    }
}

/// Take a note.
///
/// It is recorded as an event, and nothing else happens.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeNote {
    /// What it says.
    pub text: String,
}

/// A note.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Note {
    /// Which note.
    pub note_id: Uuid,
}

impl Command for TakeNote {
    const SPEC: Spec = Spec::create("take_note", "/notes");
    type Output = Note;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Note> {
        let note_id = Uuid::now_v7();
        tx.append(&NoteTaken { note_id, text: self.text }).await?;
        Ok(Note { note_id })
    }
}

/// Repeat what is said.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepeatWord {
    /// What is said.
    pub word: String,
}

impl Action for RepeatWord {
    const SPEC: Spec = Spec::read("repeat_word", "/word");
    type Output = RepeatWord;

    async fn act(self, _: &System) -> Result<RepeatWord> {
        Ok(self)
    }
}

pub(crate) fn domain() -> Domain {
    Domain::new(BENCH).command::<TakeNote>().action::<RepeatWord>().emits::<NoteTaken>()
}
