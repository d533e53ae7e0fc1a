//! What an operation is called, where it is found, what it does and who may call it.

use kernel::is_snake_case;

use super::Deprecation;

/// What an operation does to its resource; surfaces derive methods, statuses and hints from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads: `GET`, 200.
    Read,
    /// Creates: `POST`, 201.
    Create,
    /// Replaces: `PUT`, 200; doing it twice is doing it once.
    Replace,
    /// Removes: `DELETE`, 204.
    Remove,
    /// Does something to a resource: `POST`, 200.
    Invoke,
    /// Has no surface; reactions and jobs only.
    Internal,
}

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody, also without a credential: to sign in, for example.
    Anyone,
    /// Whoever is signed in, with any role: what concerns only themselves.
    Member,
    /// Those who may read their organisation's data.
    Read,
    /// Those who may change their organisation's data.
    Write,
    /// Those who decide who else may do something in their organisation.
    Administer,
    /// Those who run the platform.
    Operate,
}

/// How careful an agent must be with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// Only reads.
    Read,
    /// Suggests something that a person then decides.
    Propose,
    /// Changes something.
    Execute,
    /// Destroys something or reaches beyond an organisation.
    Restricted,
}

impl Category {
    /// The name used on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Propose => "propose",
            Self::Execute => "execute",
            Self::Restricted => "restricted",
        }
    }
}

/// Name, path and access of an operation. All `const`, so that a mistake stops the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is said of an operation on its own")]
pub struct Spec {
    name: &'static str,
    verb: Verb,
    path: &'static str,
    access: Access,
    is_answer_kept: bool,
    is_proposal: bool,
    is_destructive: bool,
    is_confidential: bool,
    is_like_reading: bool,
    is_addressable: bool,
    pub(super) deprecation: Option<Deprecation>,
}

impl Spec {
    const fn new(name: &'static str, verb: Verb, path: &'static str, access: Access) -> Self {
        assert!(
            is_snake_case(name),
            "an operation name is lower-case snake case, as in `open_job_order`"
        );
        assert!(
            matches!(verb, Verb::Internal) || is_path(path),
            "an operation path begins with `/` and has no blank, as in `/job_orders`"
        );
        Self {
            name,
            verb,
            path,
            access,
            is_answer_kept: false,
            is_proposal: false,
            is_destructive: false,
            is_confidential: false,
            is_like_reading: false,
            is_addressable: false,
            deprecation: None,
        }
    }
    /// Reads a resource: `GET`, 200.
    #[must_use]
    pub const fn read(name: &'static str, path: &'static str) -> Self {
        Self::new(name, Verb::Read, path, Access::Read)
    }
    /// Creates a resource: `POST`, 201.
    #[must_use]
    pub const fn create(name: &'static str, path: &'static str) -> Self {
        Self::new(name, Verb::Create, path, Access::Write)
    }
    /// Replaces a resource: `PUT`, 200.
    #[must_use]
    pub const fn replace(name: &'static str, path: &'static str) -> Self {
        Self::new(name, Verb::Replace, path, Access::Write)
    }
    /// Removes a resource: `DELETE`, 204.
    #[must_use]
    pub const fn remove(name: &'static str, path: &'static str) -> Self {
        Self::new(name, Verb::Remove, path, Access::Write)
    }
    /// Does something to a resource: `POST`, 200.
    #[must_use]
    pub const fn invoke(name: &'static str, path: &'static str) -> Self {
        Self::new(name, Verb::Invoke, path, Access::Write)
    }
    /// Has no surface; for reactions and jobs only.
    #[must_use]
    pub const fn internal(name: &'static str) -> Self {
        Self::new(name, Verb::Internal, "", Access::Write)
    }
    /// Asks for another access than the verb's own.
    #[must_use]
    pub const fn needs(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
    /// Only suggests something, which a person then decides.
    #[must_use]
    pub const fn proposes(mut self) -> Self {
        self.is_proposal = true;
        self
    }
    /// Destroys what cannot be had back, or stops what others rely on: whoever has a second factor
    /// must have shown it of late.
    #[must_use]
    pub const fn destroys(mut self) -> Self {
        self.is_destructive = true;
        self
    }
    /// Is told secrets, or answers some. They are kept nowhere: as an action it is not recorded by
    /// the platform, so that the events of its own domain tell of it, and its answer is remembered
    /// under no idempotency key.
    #[must_use]
    pub const fn confidential(mut self) -> Self {
        self.is_confidential = true;
        self
    }
    /// Changes nothing that anybody reads, though it is no read: a credential with scopes needs the
    /// right to read for it.
    #[must_use]
    pub const fn counts_as_reading(mut self) -> Self {
        self.is_like_reading = true;
        self
    }
    /// The right that a scope of a credential must grant for it: `read` for what only reads,
    /// `write` for what changes something, `operate` for either where the platform is operated;
    /// none for what needs no credential.
    #[must_use]
    pub const fn right(&self) -> Option<&'static str> {
        match (self.access, self.verb) {
            (Access::Anyone, _) => None,
            (Access::Operate, _) => Some("operate"),
            (_, Verb::Read) => Some("read"),
            _ if self.is_like_reading => Some("read"),
            _ => Some("write"),
        }
    }
    /// Is a document that agents read by its address, `<domain>:/` and its path, as in
    /// `recruit://job_orders/{job_order_id}`, beside being a tool. Whoever may ask it may read it.
    ///
    /// # Panics
    /// When it is built, if it does more than read.
    #[must_use]
    pub const fn addressable(mut self) -> Self {
        assert!(
            self.is_read(),
            "what is read by an address only reads: declare it with Spec::read"
        );
        self.is_addressable = true;
        self
    }
    /// Whether agents read it by its address.
    #[must_use]
    pub const fn is_addressable(&self) -> bool {
        self.is_addressable
    }
    /// Whether it is told secrets, or answers some.
    #[must_use]
    pub const fn is_confidential(&self) -> bool {
        self.is_confidential
    }
    /// Whether a second factor must have been shown of late by whoever has one.
    #[must_use]
    pub const fn is_destructive(&self) -> bool {
        self.is_destructive
    }
    /// How careful an agent must be with it.
    #[must_use]
    pub const fn category(&self) -> Category {
        match (self.verb, self.access) {
            (Verb::Read, _) => Category::Read,
            _ if self.is_proposal => Category::Propose,
            (Verb::Remove, _) | (_, Access::Operate | Access::Administer) => Category::Restricted,
            _ if self.is_destructive => Category::Restricted,
            _ => Category::Execute,
        }
    }
    /// Records the answer of an action along with how it ended.
    #[must_use]
    pub const fn keeps_answer(mut self) -> Self {
        self.is_answer_kept = true;
        self
    }
    /// The persistent name, for example `open_job_order`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
    /// What it does to its resource.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        self.verb
    }
    /// The path below the domain's own, for example `/job_orders/{job_order_id}`.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }
    /// Who may call it.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }
    /// Whether nothing but reading happens.
    pub(crate) const fn is_read(&self) -> bool {
        matches!(self.verb, Verb::Read)
    }
    pub(crate) const fn is_answer_kept(&self) -> bool {
        self.is_answer_kept
    }
    /// The names of the path's parameters, in their order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

const fn is_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.is_empty() || bytes[0] != b'/' {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] <= b' ' || bytes[i] > b'~' || bytes[i] == b'?' || bytes[i] == b'#' {
            return false;
        }
        i += 1;
    }
    true
}
