//! The order in which applications start: what one needs before it, else as they were given.
//!
//! **Invariant:** pure; nothing is started before the whole plan is known to be possible.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ApplicationError, nearest};

/// What one application needs.
#[derive(Debug)]
pub(super) struct Needs<'a, N> {
    pub(super) dependencies: &'a [N],
    pub(super) optional: &'a [N],
}

/// The names of those that have to run before and including the `wanted` ones: depth first,
/// dependencies in the order listed, the wanted ones in the order given, nobody twice.
pub(super) fn order<'a, N: AsRef<str>>(
    known: &BTreeMap<&'a str, Needs<'a, N>>,
    wanted: &[&'a str],
) -> Result<Vec<&'a str>, ApplicationError> {
    let mut walk = Walk { known, path: Vec::new(), done: BTreeSet::new(), order: Vec::new() };
    for name in wanted {
        if !known.contains_key(name) {
            let nearest = nearest(name, known.keys().copied());
            return Err(ApplicationError::Unknown { name: (*name).to_owned(), nearest });
        }
        walk.visit(name)?;
    }
    Ok(walk.order)
}

struct Walk<'w, 'a, N> {
    known: &'w BTreeMap<&'a str, Needs<'a, N>>,
    path: Vec<&'a str>,
    done: BTreeSet<&'a str>,
    order: Vec<&'a str>,
}

impl<'a, N: AsRef<str>> Walk<'_, 'a, N> {
    fn visit(&mut self, name: &'a str) -> Result<(), ApplicationError> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|above| *above == name) {
            let circle = self.path[start..].iter().copied().chain([name]);
            return Err(ApplicationError::Cycle { path: circle.map(str::to_owned).collect() });
        }
        let known = self.known;
        let Some(needs) = known.get(name) else {
            return Ok(());
        };
        self.path.push(name);
        for dependency in needs.dependencies.iter().map(AsRef::as_ref) {
            if !known.contains_key(dependency) {
                return Err(ApplicationError::UnknownDependency {
                    application: name.to_owned(),
                    dependency: dependency.to_owned(),
                    nearest: nearest(dependency, known.keys().copied()),
                });
            }
            self.visit(dependency)?;
        }
        for optional in needs.optional.iter().map(AsRef::as_ref) {
            self.visit(optional)?;
        }
        self.path.pop();
        self.done.insert(name);
        self.order.push(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Names = &'static [&'static str];
    type Given = &'static [(&'static str, Names, Names)];

    fn planned(given: Given, wanted: &[&'static str]) -> Result<Vec<&'static str>, String> {
        let needs = |one: &(&'static str, Names, Names)| {
            (one.0, Needs { dependencies: one.1, optional: one.2 })
        };
        let known: BTreeMap<_, Needs<'_, &'static str>> = given.iter().map(needs).collect();
        order(&known, wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn what_one_needs_comes_before_it_in_the_order_listed() {
        let given: Given = &[
            ("web", &["store", "log"], &[]),
            ("store", &["crypto"], &[]),
            ("log", &[], &[]),
            ("crypto", &["log"], &[]),
        ];

        assert_eq!(planned(given, &["web"]), Ok(vec!["log", "crypto", "store", "web"]));
        assert_eq!(planned(given, &["log", "store"]), Ok(vec!["log", "crypto", "store"]));
    }

    #[test]
    fn those_that_do_not_need_each_other_come_as_they_were_given() {
        let given: Given = &[("c", &[], &[]), ("a", &[], &[]), ("b", &[], &[])];

        assert_eq!(planned(given, &["c", "a", "b"]), Ok(vec!["c", "a", "b"]));
    }

    #[test]
    fn an_optional_one_comes_before_if_there_is_any() {
        let given: Given = &[("web", &[], &["metrics", "ghost"]), ("metrics", &[], &[])];

        assert_eq!(planned(given, &["web"]), Ok(vec!["metrics", "web"]));
    }

    #[test]
    fn a_circle_is_named_from_where_it_closes() {
        let given: Given =
            &[("a", &["b"], &[]), ("b", &["c"], &[]), ("c", &[], &["b"]), ("d", &["d"], &[])];

        let circle = "applications depend on each other in a circle: b -> c -> b";
        assert_eq!(planned(given, &["a"]), Err(circle.to_owned()));
        let alone = "applications depend on each other in a circle: d -> d";
        assert_eq!(planned(given, &["d"]), Err(alone.to_owned()));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let given: Given = &[("web", &["stroe"], &[]), ("store", &[], &[])];

        let dependency = "application `web` depends on `stroe`, which there is not, did you mean \
                          `store`?";
        assert_eq!(planned(given, &["web"]), Err(dependency.to_owned()));
        let wanted = "there is no application `wbe`, did you mean `web`?";
        assert_eq!(planned(given, &["wbe"]), Err(wanted.to_owned()));
    }

    proptest! {
        #[test]
        fn nobody_comes_twice_or_before_what_it_needs(
            edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..40),
            wanted in prop::collection::vec(0_usize..12, 1..12),
        ) {
            let names: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
            // Edges lead to lower numbers only, so there is no circle.
            let needs: Vec<Vec<&str>> = (0..12)
                .map(|from| {
                    let lower = edges.iter().filter(|(one, to)| *one == from && to < one);
                    lower.map(|(_, to)| names[*to].as_str()).collect()
                })
                .collect();
            let known = names.iter().zip(&needs).map(|(name, dependencies)| {
                (name.as_str(), Needs { dependencies: dependencies.as_slice(), optional: &[] })
            });
            let known: BTreeMap<&str, Needs<'_, &str>> = known.collect();
            let wanted: Vec<&str> = wanted.iter().map(|number| names[*number].as_str()).collect();

            let order = order(&known, &wanted).unwrap();

            let place = |name: &str| order.iter().position(|other| *other == name);
            prop_assert!(wanted.iter().all(|name| place(name).is_some()));
            for (at, name) in order.iter().enumerate() {
                prop_assert_eq!(place(name), Some(at));
                for dependency in known[name].dependencies {
                    prop_assert!(place(dependency).is_some_and(|before| before < at));
                }
            }
        }
    }
}
