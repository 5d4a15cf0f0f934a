"""What free SQL may be made of. A name that is not here is refused: functions that read files, tables, dictionaries or settings never were."""

from __future__ import annotations

from typing import Final

__all__ = ["FUNCTIONS", "NODES", "WORDS_BEFORE_BRACKETS"]

#: Parts of a parsed SELECT that are no functions.
NODES: Final = frozenset(
    [
        "Select",
        "Union",
        "From",
        "Where",
        "PreWhere",
        "Group",
        "Having",
        "Order",
        "Ordered",
        "Limit",
        "Offset",
        "Join",
        "With",
        "CTE",
        "Subquery",
        "Table",
        "TableAlias",
        "Alias",
        "Aliases",
        "Column",
        "Identifier",
        "Star",
        "Literal",
        "Boolean",
        "Null",
        "Var",
        "Paren",
        "Tuple",
        "Array",
        "Bracket",
        "Dot",
        "Distinct",
        "Interval",
        "DataType",
        "DataTypeParam",
        "Placeholder",
        "Lambda",
        "EQ",
        "NEQ",
        "GT",
        "GTE",
        "LT",
        "LTE",
        "And",
        "Or",
        "Not",
        "Xor",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Mod",
        "Neg",
        "IntDiv",
        "DPipe",
        "Is",
        "In",
        "Between",
        "Like",
        "ILike",
        "Case",
        "If",
        "Cast",
        "TryCast",
        "Window",
        "WindowSpec",
        "Filter",
        "Kwarg",
        "PropertyEQ",
        "All",
        "Any",
        "Exists",
        "Cube",
        "Rollup",
        "GroupingSets",
        "Final",
        "Collate",
        "Slice",
        "ParameterizedAgg",
        "CombinedAggFunc",
        "AnonymousAggFunc",
        "CombinedParameterizedAgg",
        "Anonymous",
        "LimitBy",
        "Limit",
        "NestedJSONSelect",
        "JSONCast",
        "ColumnDef",
        "Fetch",
        "Ternary",
        "Escape",
    ]
)

#: Words that stand before a bracket and are no functions.
WORDS_BEFORE_BRACKETS: Final = frozenset(
    [
        "AND",
        "AS",
        "ANY",
        "ARRAY",
        "ASC",
        "BETWEEN",
        "BY",
        "CASE",
        "CROSS",
        "DESC",
        "DISTINCT",
        "ELSE",
        "EXCEPT",
        "FROM",
        "FULL",
        "GROUP",
        "HAVING",
        "IN",
        "INNER",
        "INTERSECT",
        "INTERVAL",
        "IS",
        "JOIN",
        "LEFT",
        "LIKE",
        "ILIKE",
        "LIMIT",
        "NOT",
        "ON",
        "OR",
        "ORDER",
        "OUTER",
        "OVER",
        "PREWHERE",
        "RIGHT",
        "SELECT",
        "THEN",
        "TUPLE",
        "UNION",
        "ALL",
        "USING",
        "WHEN",
        "WHERE",
        "WITH",
        "XOR",
        "DIV",
        "MOD",
        "OFFSET",
        "DATETIME64",
        "DATETIME",
        "DECIMAL",
        "FIXEDSTRING",
        "NULLABLE",
        "LOWCARDINALITY",
        "ROLLUP",
        "CUBE",
        "SETS",
    ]
)

_AGGREGATES: Final = """
    count sum avg min max any anylast uniq uniqexact uniqcombined uniqcombined64 uniqhll12 quantile quantileexact quantiletiming
    quantiletdigest quantiles quantilesexact median topk topkweighted grouparray groupuniqarray groupbitand groupbitor argmin argmax
    stddevpop stddevsamp varpop varsamp corr covarpop windowfunnel retention sequencecount sequencematch sumwithoverflow
    anyheavy first_value last_value row_number rank dense_rank lag lead laginframe leadinframe ntile skewpop kurtpop entropy
    simplelinearregression exponentialmovingaverage deltasum maxintersections boundingratio histogram
"""
_SCALARS: Final = """
    abs round floor ceil trunc sqrt cbrt exp ln log log2 log10 pow power sign greatest least intdiv modulo positivemodulo plus minus
    multiply divide negate isnan isfinite isinfinite ifnotfinite equals notequals less greater lessorequals greaterorequals and or xor not
    if multiif coalesce ifnull nullif isnull isnotnull assumenotnull tonullable case
    toyear tomonth toquarter todayofmonth todayofweek todayofyear tohour tominute tosecond toweek toisoweek toisoyear toyyyymm
    toyyyymmdd tomonday tostartofinterval tostartofsecond tostartofminute tostartoffiveminutes tostartoftenminutes tostartoffifteenminutes
    tostartofhour tostartofday tostartofweek tostartofmonth tostartofquarter tostartofyear datediff dateadd datesub date_diff date_add
    date_sub date_trunc datetrunc adddays addhours addminutes addseconds addweeks addmonths addyears subtractdays subtracthours
    subtractminutes subtractseconds subtractweeks subtractmonths now now64 today yesterday tounixtimestamp tounixtimestamp64milli
    fromunixtimestamp fromunixtimestamp64milli formatdatetime parsedatetimebesteffort parsedatetimebesteffortornull totimezone timeslot
    current_timestamp current_date timestampdiff timestamp_diff timestampadd timestamp_trunc extract
    toint8 toint16 toint32 toint64 touint8 touint16 touint32 touint64 tofloat32 tofloat64 tofloat64ornull tofloat64orzero toint64ornull
    toint64orzero touint64ornull touint64orzero todate todatetime todatetime64 tostring todecimal64 todecimal32 todecimal128 cast
    tointervalsecond tointervalminute tointervalhour tointervalday tointervalweek tointervalmonth try_cast accuratecastornull
    length lengthutf8 empty notempty lower upper lowerutf8 upperutf8 reverse concat concatwithseparator substring substringutf8 substr
    position positioncaseinsensitive positionutf8 positioncaseinsensitiveutf8 startswith endswith like ilike notlike match extractall
    replaceone replaceall replaceregexpone replaceregexpall replace splitbychar splitbystring trim trimleft trimright trimboth ltrim rtrim
    leftpad rightpad left right format domain path protocol
    jsonextractstring jsonextractint jsonextractfloat jsonextractbool jsonhas tojsonstring getsubcolumn jsonextractuint
    array has hasany hasall indexof countequal arraymap arrayfilter arrayexists arrayall arraycount arraysum arrayavg arraymin arraymax
    arraysort arrayreversesort arrayreverse arrayjoin arrayslice arrayconcat arraydistinct arrayuniq arraycompact arraydifference
    arraycumsum arrayelement arrayenumerate arraystringconcat arrayfirst arraylast arrayzip arraysplit tuple tupleelement
    cityhash64 siphash64 xxhash64 bitand bitor bitxor bitshiftleft bitshiftright bitcount
"""
_COMBINATORS: Final = ("", "if", "array", "distinct", "ornull", "ordefault", "arrayif", "distinctif", "ornullif")

#: In lower case; aggregates with the combinators that change nothing about what is read.
FUNCTIONS: Final = frozenset(
    {f"{name}{combinator}" for name in _AGGREGATES.split() for combinator in _COMBINATORS} | set(_SCALARS.split())
)
