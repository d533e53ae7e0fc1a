//! The public key of a passkey, as authenticators write it (COSE, RFC 9053), and what it signed.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use crate::cbor::Item;

/// ECDSA over P-256: what nearly all authenticators have.
pub(crate) const ES256: i64 = -7;
/// Ed25519.
pub(crate) const EDDSA: i64 = -8;
/// RSA: what Windows has where its chip knows nothing newer.
pub(crate) const RS256: i64 = -257;

/// What is asked for, the best first.
pub(crate) const ALGORITHMS: [i64; 3] = [EDDSA, ES256, RS256];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey<'a> {
    /// A point of P-256, uncompressed.
    Es256(Vec<u8>),
    /// A point of edwards25519.
    EdDsa(&'a [u8]),
    /// Modulus and exponent.
    Rs256(&'a [u8], &'a [u8]),
}

impl<'a> PublicKey<'a> {
    /// The key that is written so; nothing if it is of a kind that was not asked for.
    pub(crate) fn of(cose: &Item<'a>) -> Option<Self> {
        let number = |key| cose.at(key).and_then(Item::integer);
        let bytes = |key| cose.at(key).and_then(Item::bytes);
        match (number(3)?, number(1)?) {
            (ES256, 2) if number(-1) == Some(1) => {
                let (x, y) = (bytes(-2)?, bytes(-3)?);
                (x.len() == 32 && y.len() == 32).then(|| Self::Es256([&[4], x, y].concat()))
            }
            (EDDSA, 1) if number(-1) == Some(6) => {
                bytes(-2).filter(|point| point.len() == 32).map(Self::EdDsa)
            }
            (RS256, 3) => {
                let (modulus, exponent) = (bytes(-1)?, bytes(-2)?);
                ((256..=512).contains(&modulus.len()) && (1..=4).contains(&exponent.len()))
                    .then_some(Self::Rs256(modulus, exponent))
            }
            _ => None,
        }
    }

    /// Whether it has signed this.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Self::EdDsa(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            Self::Rs256(modulus, exponent) => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };

    use super::*;

    fn map(pairs: &[(i64, Item<'static>)]) -> Item<'static> {
        Item::Map(pairs.iter().map(|(key, value)| (Item::Integer(*key), value.clone())).collect())
    }

    #[test]
    fn a_key_knows_what_it_has_signed_and_nothing_else() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .expect("there are random bytes");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random)
                .expect("it was made so");
        let p256 = PublicKey::Es256(pair.public_key().as_ref().to_vec());
        let by_p256 = pair.sign(&random, b"it").expect("it signs");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("there are random bytes");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("it was made so");
        let ed25519 = PublicKey::EdDsa(pair.public_key().as_ref());
        let by_ed25519 = pair.sign(b"it");

        assert!(p256.has_signed(b"it", by_p256.as_ref()));
        assert!(!p256.has_signed(b"other", by_p256.as_ref()));
        assert!(!p256.has_signed(b"it", by_ed25519.as_ref()));
        assert!(ed25519.has_signed(b"it", by_ed25519.as_ref()));
        assert!(!ed25519.has_signed(b"it", &[0; 64]));
        assert!(!PublicKey::Rs256(&[0; 256], &[1, 0, 1]).has_signed(b"it", &[0; 256]));
    }

    #[test]
    fn a_key_of_another_kind_or_shape_is_none() {
        let (x, short) = (Item::Bytes(&[1; 32]), Item::Bytes(&[1; 31]));
        let number = Item::Integer;
        let good = [(1, number(2)), (3, number(ES256)), (-1, number(1)), (-2, x.clone())];
        let with = |more: &[(i64, Item<'static>)]| map(&[good.as_slice(), more].concat());

        assert!(PublicKey::of(&with(&[(-3, x.clone())])).is_some());
        let cases = [
            with(&[]),
            with(&[(-3, short)]),
            with(&[(-3, Item::Integer(1))]),
            map(&[(1, number(1)), (3, number(ES256)), (-1, number(6)), (-2, x.clone())]),
            map(&[(1, number(2)), (3, number(-35)), (-1, number(1)), (-2, x)]),
            map(&[(1, number(3)), (3, number(RS256)), (-1, Item::Bytes(&[1; 128]))]),
            Item::Integer(0),
        ];
        for cose in cases {
            assert_eq!(PublicKey::of(&cose), None, "{cose:?}");
        }
    }
}
