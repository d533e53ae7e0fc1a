//! Environments: what an application can be told from outside, as keys with values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::StartError;

pub(super) type Values = BTreeMap<String, Value>;

/// The environment of one application; clones see the same values.
///
/// The values are the defaults of the code, overridden by the operator's page. When a new page is
/// applied, whoever asks again gets the new value.
#[derive(Clone)]
pub struct Environment {
    application: Arc<str>,
    values: Arc<RwLock<Arc<Values>>>,
}

/// Why a key has no value of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// It has no value at all.
    #[error("application `{application}` has no `{key}` in its environment; expected {expected}")]
    Missing {
        /// Whose environment it is.
        application: String,
        /// What was asked for.
        key: String,
        /// The type that was asked for.
        expected: String,
    },
    /// Its value is not of that type.
    #[error(
        "`{key}` in the environment of application `{application}` is {found}, not {expected}: \
         {cause}"
    )]
    WrongType {
        /// Whose environment it is.
        application: String,
        /// What was asked for.
        key: String,
        /// The type that was asked for.
        expected: String,
        /// The value there is.
        found: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl From<EnvironmentError> for StartError {
    fn from(error: EnvironmentError) -> Self {
        Self::failed(error)
    }
}

impl Environment {
    pub(super) fn new(application: Arc<str>) -> Self {
        Self { application, values: Arc::default() }
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, EnvironmentError> {
        self.look_up(key)?.ok_or_else(|| EnvironmentError::Missing {
            application: self.application.to_string(),
            key: key.to_owned(),
            expected: name_of::<T>(),
        })
    }

    /// The value of `key`, or `default` if there is none.
    ///
    /// # Errors
    ///
    /// When it is not a `T`.
    pub fn get_or<T: DeserializeOwned>(
        &self,
        key: &str,
        default: T,
    ) -> Result<T, EnvironmentError> {
        Ok(self.look_up(key)?.unwrap_or(default))
    }

    /// The keys that have a value.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.values().keys().cloned().collect()
    }

    /// Whose environment it is.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.application
    }

    fn look_up<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, EnvironmentError> {
        let values = self.values();
        let Some(value) = values.get(key) else {
            return Ok(None);
        };
        T::deserialize(value).map(Some).map_err(|cause| EnvironmentError::WrongType {
            application: self.application.to_string(),
            key: key.to_owned(),
            expected: name_of::<T>(),
            found: value.to_string(),
            cause: cause.to_string(),
        })
    }

    fn values(&self) -> Arc<Values> {
        self.values.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces all values and says what that changed.
    pub(super) fn replace(&self, values: Values) -> EnvironmentChange {
        let new = Arc::new(values);
        let mut now = self.values.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *now, new.clone());
        drop(now);
        EnvironmentChange::between(&old, &new)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        formatter
            .debug_struct("Environment")
            .field("application", &self.application)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

/// What a new page changed in the environment of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentChange {
    /// Keys that had a value and have another now.
    pub changed: BTreeMap<String, Value>,
    /// Keys that had none.
    pub new: BTreeMap<String, Value>,
    /// Keys that have none any more.
    pub removed: Vec<String>,
}

impl EnvironmentChange {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.new.is_empty() && self.removed.is_empty()
    }

    fn between(old: &Values, new: &Values) -> Self {
        let mut change = Self::default();
        for (key, value) in new {
            let group = match old.get(key) {
                None => &mut change.new,
                Some(before) if before != value => &mut change.changed,
                Some(_) => continue,
            };
            group.insert(key.clone(), value.clone());
        }
        change.removed = old.keys().filter(|key| !new.contains_key(*key)).cloned().collect();
        change
    }
}

/// The name of a type without the paths of the modules it is in.
fn name_of<T>() -> String {
    let mut name = String::new();
    for word in std::any::type_name::<T>().split_inclusive(|letter: char| {
        !(letter.is_alphanumeric() || letter == '_' || letter == ':')
    }) {
        name.push_str(word.rsplit("::").next().unwrap_or(word));
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(values: &[(&str, Value)]) -> Environment {
        let environment = Environment::new("billing".into());
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        environment.replace(values.collect());
        environment
    }

    #[test]
    fn a_value_comes_as_the_type_that_was_asked_for() {
        let environment =
            environment(&[("rate", json!(3)), ("names", json!(["a", "b"])), ("on", json!(true))]);

        assert_eq!(environment.get::<u8>("rate"), Ok(3));
        assert_eq!(environment.get::<Vec<String>>("names").unwrap(), ["a", "b"]);
        assert_eq!(environment.get_or("on", false), Ok(true));
        assert_eq!(environment.get_or("off", false), Ok(false));
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_application_key_and_type() {
        let environment = environment(&[("rate", json!("fast"))]);

        let wrong = environment.get::<Option<Vec<u32>>>("rate").unwrap_err().to_string();
        let missing = environment.get::<std::time::Duration>("wait").unwrap_err().to_string();

        assert_eq!(
            wrong,
            "`rate` in the environment of application `billing` is \"fast\", not Option<Vec<u32>>: \
             invalid type: string \"fast\", expected a sequence"
        );
        assert_eq!(
            missing,
            "application `billing` has no `wait` in its environment; expected Duration"
        );
    }

    #[test]
    fn a_change_tells_what_is_new_other_and_gone() {
        let environment =
            environment(&[("same", json!(1)), ("other", json!(1)), ("gone", json!(1))]);
        let values = [("same", 1), ("other", 2), ("new", 3)];
        let values = values.map(|(key, value)| (key.to_owned(), json!(value)));

        let change = environment.replace(values.into());

        let one = |key: &str, value: u8| BTreeMap::from([(key.to_owned(), json!(value))]);
        let expected = EnvironmentChange {
            changed: one("other", 2),
            new: one("new", 3),
            removed: vec!["gone".to_owned()],
        };
        assert_eq!(change, expected);
        assert_eq!(environment.get("other"), Ok(2));
    }
}
