//! Offices: where an organisation works from.

use contracts::accounts::{OfficeAmended, OfficeClosed, OfficeOpened};
use platform::{
    Access, Command, Cursor, Limit, Listing, OrgId, Query, Reason, Refusal, Result, Snapshot, Spec,
    Timestamp, Tx, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};
use uuid::Uuid;

use crate::stale;

/// An office of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Office {
    /// The office.
    pub office_id: Uuid,
    /// Its name, which no other open office of the organisation has.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Where it is, as on an envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub address: Option<String>,
    /// Where it is, in millionths of a degree north of the equator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -90_000_000, max = 90_000_000))]
    pub latitude_e6: Option<i32>,
    /// Where it is, in millionths of a degree east of Greenwich.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -180_000_000, max = 180_000_000))]
    pub longitude_e6: Option<i32>,
    /// The time it lives by, as in `Australia/Melbourne`.
    #[schemars(length(min = 1, max = 64), example = "Australia/Melbourne")]
    pub timezone: String,
    /// Whether it is closed.
    pub is_closed: bool,
    /// Which version of these particulars this is.
    pub version: i64,
}

impl FromRow<'_, PgRow> for Office {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let deleted_at: Option<Timestamp> = row.try_get("deleted_at")?;
        Ok(Self {
            office_id: row.try_get("office_id")?,
            name: row.try_get("name")?,
            address: row.try_get("address")?,
            latitude_e6: row.try_get("latitude_e6")?,
            longitude_e6: row.try_get("longitude_e6")?,
            timezone: row.try_get("timezone")?,
            is_closed: deleted_at.is_some(),
            version: row.try_get("version")?,
        })
    }
}

/// What the rules of offices say no to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfficeRefusal {
    #[error("there is no office {0}")]
    NotFound(Uuid),
    #[error("there is an office named {0} already")]
    NameTaken(String),
    #[error("`{0}` is no time zone, as in Australia/Melbourne")]
    Timezone(String),
    #[error("a place on the map has a latitude and a longitude")]
    HalfAPlace,
}

impl Refusal for OfficeRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::not_found("office_not_found").at("/office_id"),
            Self::NameTaken(_) => Reason::conflict("office_name_taken").at("/name"),
            Self::Timezone(_) => Reason::invalid("bad_timezone").at("/timezone"),
            Self::HalfAPlace => Reason::invalid("half_a_place").at("/latitude_e6"),
        }
    }
}

pub(crate) async fn find(
    connection: &mut PgConnection,
    org_id: OrgId,
    office_id: Uuid,
) -> Result<Office> {
    let found = sqlx::query_as(
        "select office_id, name, address, latitude_e6, longitude_e6, timezone, deleted_at, version
         from accounts.offices where org_id = $1 and office_id = $2",
    )
    .bind(org_id)
    .bind(office_id)
    .fetch_optional(connection)
    .await?;
    Ok(found.ok_or(OfficeRefusal::NotFound(office_id))?)
}

/// The version of an open office, locked until the end of the transaction.
pub(crate) async fn locked(tx: &mut Tx<'_>, office_id: Uuid) -> Result<i64> {
    let org_id = tx.org_id();
    let found = sqlx::query_scalar(
        "select version from accounts.offices
         where org_id = $1 and office_id = $2 and deleted_at is null for update",
    )
    .bind(org_id)
    .bind(office_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found.ok_or(OfficeRefusal::NotFound(office_id))?)
}

/// Refuses particulars that no office can have, or another one has.
async fn check(tx: &mut Tx<'_>, office: &Office) -> Result<()> {
    if office.latitude_e6.is_some() != office.longitude_e6.is_some() {
        return Err(OfficeRefusal::HalfAPlace.into());
    }
    let (org_id, timezone) = (tx.org_id(), office.timezone.clone());
    let (is_timezone, is_taken): (bool, bool) = sqlx::query_as(
        "select exists (select 1 from pg_timezone_names where name = $1),
             exists (select 1 from accounts.offices
                 where org_id = $2 and lower(name) = lower($3) and office_id <> $4
                     and deleted_at is null)",
    )
    .bind(&timezone)
    .bind(org_id)
    .bind(&office.name)
    .bind(office.office_id)
    .fetch_one(tx.connection())
    .await?;
    match (is_timezone, is_taken) {
        (false, _) => Err(OfficeRefusal::Timezone(timezone).into()),
        (_, true) => Err(OfficeRefusal::NameTaken(office.name.clone()).into()),
        (true, false) => Ok(()),
    }
}

async fn save(tx: &mut Tx<'_>, office: &Office) -> Result<()> {
    let (org_id, now) = (tx.org_id(), tx.now());
    sqlx::query(
        "insert into accounts.offices (office_id, org_id, name, address, latitude_e6, longitude_e6,
             timezone, version, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (office_id) do update
         set name = $3, address = $4, latitude_e6 = $5, longitude_e6 = $6, timezone = $7,
             version = $8",
    )
    .bind(office.office_id)
    .bind(org_id)
    .bind(&office.name)
    .bind(&office.address)
    .bind(office.latitude_e6)
    .bind(office.longitude_e6)
    .bind(&office.timezone)
    .bind(office.version)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Get an office.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetOffice {
    /// The office.
    pub office_id: Uuid,
}

impl Query for GetOffice {
    const SPEC: Spec = Spec::read("get_office", "/offices/{office_id}");
    type Output = Office;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Office> {
        let org_id = db.org_id();
        find(db.connection(), org_id, self.office_id).await
    }
}

/// List the open offices of my organisation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOffices {
    /// Offices on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListOffices {
    const SPEC: Spec = Spec::read("list_offices", "/offices");
    type Output = Listing<Office>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<Office>> {
        let after: Option<Uuid> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select office_id, name, address, latitude_e6, longitude_e6, timezone, deleted_at,
                 version
             from accounts.offices
             where org_id = $1 and deleted_at is null and ($2::uuid is null or office_id > $2)
             order by office_id limit $3",
        )
        .bind(db.org_id())
        .bind(after)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |office: &Office| office.office_id))
    }
}

/// Open an office.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenOffice {
    /// Its name, which no other open office of the organisation has.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Where it is, as on an envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub address: Option<String>,
    /// Where it is, in millionths of a degree north of the equator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -90_000_000, max = 90_000_000))]
    pub latitude_e6: Option<i32>,
    /// Where it is, in millionths of a degree east of Greenwich.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -180_000_000, max = 180_000_000))]
    pub longitude_e6: Option<i32>,
    /// The time it lives by, as in `Australia/Melbourne`.
    #[schemars(length(min = 1, max = 64), example = "Australia/Melbourne")]
    pub timezone: String,
}

impl Command for OpenOffice {
    const SPEC: Spec = Spec::create("open_office", "/offices").needs(Access::Administer);
    type Output = Office;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Office> {
        let Self { name, address, latitude_e6, longitude_e6, timezone } = self;
        let office = Office {
            office_id: Uuid::now_v7(),
            name: trimmed("/name", &name, 1..=200)?,
            address: address.map(|text| trimmed("/address", &text, 1..=500)).transpose()?,
            latitude_e6,
            longitude_e6,
            timezone,
            is_closed: false,
            version: 1,
        };
        check(tx, &office).await?;
        save(tx, &office).await?;
        let Office { office_id, name, timezone, .. } = office.clone();
        tx.append(&OfficeOpened { office_id, name, timezone }).await?;
        Ok(office)
    }
}

/// Change the particulars of an office.
///
/// What is left out is taken away.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmendOffice {
    /// The office.
    pub office_id: Uuid,
    /// Its name, which no other open office of the organisation has.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Where it is, as on an envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub address: Option<String>,
    /// Where it is, in millionths of a degree north of the equator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -90_000_000, max = 90_000_000))]
    pub latitude_e6: Option<i32>,
    /// Where it is, in millionths of a degree east of Greenwich.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -180_000_000, max = 180_000_000))]
    pub longitude_e6: Option<i32>,
    /// The time it lives by, as in `Australia/Melbourne`.
    #[schemars(length(min = 1, max = 64), example = "Australia/Melbourne")]
    pub timezone: String,
    /// The version that is changed.
    pub expected_version: i64,
}

impl Command for AmendOffice {
    const SPEC: Spec =
        Spec::replace("amend_office", "/offices/{office_id}").needs(Access::Administer);
    type Output = Office;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Office> {
        let Self {
            office_id,
            name,
            address,
            latitude_e6,
            longitude_e6,
            timezone,
            expected_version,
        } = self;
        let version = locked(tx, office_id).await?;
        stale::must_be(expected_version, version)?;
        let office = Office {
            office_id,
            name: trimmed("/name", &name, 1..=200)?,
            address: address.map(|text| trimmed("/address", &text, 1..=500)).transpose()?,
            latitude_e6,
            longitude_e6,
            timezone,
            is_closed: false,
            version: version + 1,
        };
        check(tx, &office).await?;
        save(tx, &office).await?;
        let Office { name, timezone, .. } = office.clone();
        tx.append(&OfficeAmended { office_id, name, timezone }).await?;
        Ok(office)
    }
}

/// Close an office; nobody belongs to it any more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseOffice {
    /// The office.
    pub office_id: Uuid,
    /// The version that is closed.
    pub expected_version: i64,
}

impl Command for CloseOffice {
    const SPEC: Spec =
        Spec::remove("close_office", "/offices/{office_id}").needs(Access::Administer);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let office_id = self.office_id;
        stale::must_be(self.expected_version, locked(tx, office_id).await?)?;
        let now = tx.now();
        sqlx::query(
            "update accounts.offices set deleted_at = $2, version = version + 1
             where office_id = $1",
        )
        .bind(office_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
        sqlx::query("delete from accounts.office_members where office_id = $1")
            .bind(office_id)
            .execute(tx.connection())
            .await?;
        tx.append(&OfficeClosed { office_id }).await?;
        Ok(())
    }
}
