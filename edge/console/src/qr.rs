//! A text as a picture that phones read (QR), drawn into the page.
//!
//! Dark on light in every theme, with the margin that readers want: inverted, half of them see
//! nothing. It has no style of its own, which the policy of the pages would keep out.

use std::fmt::Write as _;

use maud::{Markup, html};
use qrcode::types::Color;
use qrcode::{EcLevel, QrCode};

/// What the picture of a secret is called.
pub(crate) const SECRET: &str = "The secret, to be read by an app";
/// The light margin around the picture, in its own dots.
const MARGIN: usize = 4;

/// The picture; nothing if the text is too long for one.
pub(crate) fn picture(text: &str, words: &str) -> Markup {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::M) else {
        return html! {};
    };
    let side = code.width() + 2 * MARGIN;
    html! {
        svg viewBox=(format!("0 0 {side} {side}")) width="200" height="200" role="img"
            aria-label=(words) shape-rendering="crispEdges" {
            rect width=(side) height=(side) rx="2" fill="#ffffff" {}
            path d=(dots(&code)) fill="#000000" {}
        }
    }
}

/// The dark dots, those beside each other in one stroke.
fn dots(code: &QrCode) -> String {
    let mut path = String::new();
    for (y, row) in code.to_colors().chunks(code.width()).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, next| one == next) {
            if run[0] == Color::Dark {
                let (left, top, wide) = (x + MARGIN, y + MARGIN, run.len());
                write!(path, "M{left} {top}h{wide}v1h-{wide}z").expect("a string takes all");
            }
            x += run.len();
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_dark_on_light_and_says_what_it_is() {
        let svg = picture("otpauth://totp/Acme:mia?secret=ABC&issuer=Acme", "Secret").0;

        assert!(svg.contains("aria-label=\"Secret\"") && !svg.contains("style="));
        let dark = QrCode::with_error_correction_level("x", EcLevel::M).expect("it is short");
        let dots = dots(&dark);
        // The corner that every reader looks for: seven dots in a row, and the margin before them.
        assert!(dots.starts_with("M4 4h7v1h-7z"), "{dots}");
        assert_eq!(picture(&"x".repeat(5_000), "Secret").0, "");
    }
}
