//! Demo data: twelve candidates, so that a newcomer's first job order finds somebody.
//!
//! The names are made up and the numbers are those the regulator keeps free for fiction.

use chrono::NaiveDate;
use contracts::recruit::Credential;

use crate::candidate::RegisterCandidate;

/// Name, mobile, suburb, postcode, skills, credentials with their last year.
type Person = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, Option<i32>)],
);

const PEOPLE: [Person; 12] = [
    (
        "Mia Nguyen",
        "0491 570 006",
        "Truganina",
        "3029",
        &["forklift", "pallet_stacking", "rf_scanning"],
        &[("forklift_licence", Some(2030)), ("white_card", None), ("police_check", Some(2029))],
    ),
    (
        "Jack Thompson",
        "0491 570 156",
        "Laverton North",
        "3026",
        &["forklift", "container_unloading"],
        &[("forklift_licence", Some(2029)), ("white_card", None)],
    ),
    (
        "Priya Sharma",
        "0491 570 157",
        "Tarneit",
        "3029",
        &["order_picking", "rf_scanning", "pallet_stacking"],
        &[("white_card", None), ("first_aid", Some(2028))],
    ),
    (
        "Liam O'Connor",
        "0491 570 158",
        "Sunshine West",
        "3020",
        &["forklift", "dispatch", "rf_scanning"],
        &[("forklift_licence", Some(2023)), ("white_card", None)],
    ),
    (
        "Aisha Rahman",
        "0491 570 159",
        "Dandenong South",
        "3175",
        &["order_picking", "quality_control"],
        &[("police_check", Some(2029)), ("first_aid", Some(2027))],
    ),
    (
        "Noah Williams",
        "0491 570 110",
        "Footscray",
        "3011",
        &["labouring", "traffic_control"],
        &[("white_card", None), ("traffic_control_ticket", Some(2028))],
    ),
    (
        "Grace Papadopoulos",
        "0491 570 313",
        "Melbourne",
        "3000",
        &["aged_care", "manual_handling"],
        &[("first_aid", Some(2028)), ("police_check", Some(2028)), ("ndis_screening", Some(2030))],
    ),
    (
        "Tane Walker",
        "0491 570 737",
        "Geelong",
        "3220",
        &["truck_driving", "container_unloading"],
        &[
            ("driver_licence_hr", Some(2031)),
            ("forklift_licence", Some(2031)),
            ("white_card", None),
        ],
    ),
    (
        "Chloe Martin",
        "0491 571 266",
        "Parramatta",
        "2150",
        &["forklift", "dispatch", "pallet_stacking"],
        &[("forklift_licence", Some(2030)), ("white_card", None)],
    ),
    (
        "Hassan Ali",
        "0491 571 491",
        "Werribee",
        "3030",
        &["labouring", "pallet_stacking"],
        &[("white_card", None)],
    ),
    (
        "Ruby Campbell",
        "0491 571 804",
        "Williamstown",
        "3016",
        &["crane_operation", "dogging"],
        &[("crane_licence", Some(2029)), ("dogging_licence", Some(2029)), ("white_card", None)],
    ),
    (
        "Daniel Kowalski",
        "0491 572 549",
        "Point Cook",
        "3030",
        &["forklift", "order_picking", "rf_scanning"],
        &[("forklift_licence", Some(2032)), ("police_check", Some(2030))],
    ),
];

/// The commands that register the candidates of a demo organisation, to be run once.
#[must_use]
pub fn demo() -> Vec<RegisterCandidate> {
    PEOPLE.iter().map(register).collect()
}

fn register(&(name, mobile, suburb, postcode, skills, credentials): &Person) -> RegisterCandidate {
    let credential = |&(code, last_year): &(&str, Option<i32>)| Credential {
        code: code.to_owned(),
        expires_on: last_year.and_then(|year| NaiveDate::from_ymd_opt(year, 6, 30)),
    };
    RegisterCandidate {
        full_name: name.to_owned(),
        mobile: mobile.to_owned(),
        suburb: suburb.to_owned(),
        postcode: postcode.to_owned(),
        skills: skills.iter().map(|&skill| skill.to_owned()).collect(),
        credentials: credentials.iter().map(credential).collect(),
        available_from: None,
    }
}
