"""The currencies that the vendor takes, and the least and most that can be charged in them.

Source: docs "Supported currencies", with its minimum charge amounts; a currency without a line there has none here.
"""

from __future__ import annotations

from tieout_lab.twins.stripe.errors import Refusal

SUPPORTED = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf "
    "clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl hrk htg huf idr "
    "ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr "
    "mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd "
    "shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar "
    "zmw"
).split()
# The least that can be charged, in smallest units.
LEAST = {
    "aed": 200, "aud": 50, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400,
    "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200,
    "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}  # fmt: skip
MOST = 99_999_999


def check_charge(amount: int, currency: str) -> None:
    """Refuse a payment that is too small or too large to be charged."""
    least = LEAST.get(currency, 1)
    if amount < least:
        raise Refusal(
            400,
            f"Amount must be at least {least} in the smallest unit of {currency}.",
            code="amount_too_small",
            param="amount",
            executed=False,
        )
    if amount > MOST:
        raise Refusal(
            400,
            f"Amount must be no more than {MOST} in the smallest unit of {currency}.",
            code="amount_too_large",
            param="amount",
            executed=False,
        )
