"""The charts of `survey_pictures.py`: numbers in, Vega-Lite out, with words in English or in Chinese.

They stand on a light card of their own, so that they are the same on a light and on a dark page.
"""

from collections.abc import Callable
from typing import Any

import altair as alt

Rows = list[dict[str, Any]]
Say = Callable[[str, str], str]
"""Chooses between the English and the Chinese words."""
BLUE, ORANGE, GREY, INK, CARD = "#2a6fb0", "#d1661b", "#8a8a8a", "#24292f", "#fbfbf9"


def carded(chart: Any) -> dict[str, Any]:
    """Return the specification of a chart on its card."""
    specification: dict[str, Any] = (
        chart.configure(background=CARD, padding=12, font="'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', sans-serif")
        .configure_view(stroke=None)
        .configure_axis(labelColor=INK, titleColor=INK, gridColor="#e4e4e0", titleFontWeight="normal", labelFontSize=11)
        .configure_title(color=INK, fontSize=12, fontWeight="normal", anchor="start")
        .configure_header(labelColor=INK, titleColor=INK, labelFontSize=12)
        .configure_legend(labelColor=INK, titleColor=INK, titleFontWeight="normal", orient="top", labelFontSize=12)
        .to_dict()
    )
    return specification


def chart(rows: Rows) -> alt.Chart:
    """Return a chart of rows, of which nothing is said yet."""
    return alt.Chart(alt.InlineData(values=rows))


def gan(rows: Rows, say: Say) -> Any:
    """Three moments: densities above, verdicts below."""
    titles = (
        say("in balance, at the end", "势均力敌，训练结束时"),
        say("generator ahead, early", "生成器抢跑，初期"),
        say("generator ahead, at the end", "生成器抢跑，结束时"),
    )
    columns = []
    for place, title in enumerate(titles):
        base = chart([row for row in rows if row["place"] == place])
        x = alt.X("x:Q", title=None, axis=alt.Axis(grid=False, labels=False, ticks=False), scale=alt.Scale(nice=False))
        y = alt.Y("p:Q", title=say("density", "密度") if place == 0 else None, axis=alt.Axis(labels=False, grid=False))
        top = alt.layer(
            base.mark_area(color=GREY, opacity=0.4).encode(x=x, y=y),
            base.mark_line(color=ORANGE, strokeWidth=1.5).encode(x=x, y=alt.Y("q:Q")),
        ).properties(width=190, height=90, title=title)
        asked = say("D: real?", "D：真的吗") if place == 0 else None
        judge = alt.Y("d:Q", title=asked, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=2))
        bottom = alt.layer(
            base.mark_line(color=INK, strokeDash=[4, 3], strokeWidth=1.5).encode(x=x, y=alt.Y("best:Q", title=asked)),
            base.mark_line(color=BLUE, strokeWidth=1.5).encode(x=x, y=judge),
        ).properties(width=190, height=70)
        columns.append(alt.vconcat(top, bottom, spacing=6))
    return alt.hconcat(*columns, spacing=16)


def gumbel_gan(rows: Rows, say: Say) -> Any:
    """A square a symbol, a row a temperature, a panel a draw."""
    named = [row | {"panel": say(f"draw {row['draw']}", f"第 {row['draw']} 次抽样")} for row in rows]
    return (
        chart(named)
        .mark_rect(stroke=CARD)
        .encode(
            x=alt.X("symbol:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, orient="top", ticks=False)),
            y=alt.Y("temperature:O", sort="descending", title=say("temperature τ", "温度 τ")),
            color=alt.Color("value:Q", title=say("share", "份额"), scale=alt.Scale(scheme="blues", domain=[0, 1])),
            column=alt.Column("panel:N", title=None, sort=None),
        )
        .properties(width=130, height=110)
    )


def textgan_workshop(rows: Rows, say: Say) -> Any:
    """Two curves over the sharpness: how hard the words are, and the gradient that is left."""
    x = alt.X(
        "sharpness:Q", scale=alt.Scale(type="log"), title=say("sharpness L (the paper: 1000)", "锐度 L（论文取 1000）")
    )
    x.axis = alt.Axis(values=[1, 10, 100, 1000, 10000], format="~s")
    paper = chart([{"sharpness": 1000}]).mark_rule(color=GREY, strokeDash=[4, 3]).encode(x=x)
    largest = alt.Y("largest:Q", title=say("largest share of a word", "词的最大份额"), scale=alt.Scale(domain=[0, 1]))
    size = alt.Y(
        "gradient:Q", title=say("gradient at the noise", "噪声处的梯度"), axis=alt.Axis(format="~g", tickCount=4)
    )
    left, right = (
        alt.layer(paper, chart(rows).mark_line(color=colour, point={"color": colour, "size": 18}).encode(x=x, y=y))
        for y, colour in ((largest, BLUE), (size, ORANGE))
    )
    return alt.hconcat(left.properties(width=270, height=140), right.properties(width=270, height=140))


def textgan(rows: Rows, say: Say) -> Any:
    """Two curves over the distance of the peaks."""
    names = {"moments": say("means and covariances", "均值与协方差"), "kernel": say("kernel (MMD²)", "核（MMD²）")}
    named = [row | {"loss": names[row["loss"]]} for row in rows]
    colours = alt.Scale(domain=list(names.values()), range=[GREY, BLUE])
    return (
        chart(named)
        .mark_line(point={"size": 30})
        .encode(
            x=alt.X("distance:Q", title=say("half the distance of the two real peaks", "真实分布两峰距离的一半")),
            y=alt.Y(
                "value:Q",
                title=say("loss, in errors of equal samples", "损失（以同分布样本的误差为单位）"),
                scale=alt.Scale(type="symlog", constant=3, domain=[-1, 100]),
                axis=alt.Axis(values=[0, 3, 10, 30, 100]),
            ),
            color=alt.Color("loss:N", title=None, scale=colours),
        )
        .properties(width=420, height=180)
    )


def seqgan(rows: Rows, say: Say) -> Any:
    """Bars of one standard deviation around the mean of roll-outs; a line where the truth is; a panel for each N."""
    x = alt.X("position:O", title=say("token", "第几个词"), axis=alt.Axis(labelAngle=0))
    title = say("value Q", "价值 Q")
    y = alt.Y("low:Q", title=title, scale=alt.Scale(zero=False))
    base = alt.Chart()
    layers = alt.layer(
        base.mark_tick(color=INK, thickness=2, width=26).encode(x=x, y=alt.Y("exact:Q", title=title)),
        base.mark_rule(color=ORANGE, strokeWidth=2).encode(x=x, y=y, y2="high:Q"),
        base.mark_point(color=ORANGE, filled=True, size=40, opacity=1).encode(x=x, y=alt.Y("mean:Q", title=title)),
    ).properties(width=190, height=150)
    named = [row | {"panel": f"N = {row['number']}"} for row in rows]
    return layers.facet(data=alt.InlineData(values=named), column=alt.Column("panel:N", title=None, sort=None))


def maskgan(rows: Rows, say: Say) -> Any:
    """A sentence a line; a filled blank has the colour of the opinion on it, and what stood there below."""
    x = alt.X("place:O", axis=None)
    base = chart(rows).encode(x=x, y=alt.Y("line:O", axis=None))
    colour = alt.Color(
        "opinion:Q",
        title=say("D: real?", "D：真的吗？"),
        scale=alt.Scale(scheme="redyellowgreen", domain=[0, 1]),
        legend=alt.Legend(tickCount=2),
    )
    filled = base.transform_filter("datum.opinion !== null").mark_rect(stroke=CARD, strokeWidth=3).encode(color=colour)
    words = base.mark_text(fontSize=12, color="#000", dy=-5, limit=74).encode(text="word:N")
    truth = base.transform_filter("datum.truth !== null")
    below = truth.mark_text(fontSize=9.5, color="#444", dy=10, fontStyle="italic", limit=74).encode(text="truth:N")
    return alt.layer(filled, words, below).properties(width=alt.Step(76), height=alt.Step(40))


def leakgan(rows: Rows, say: Say) -> Any:
    """The cosine of each goal with the way to each later word; framed are those for which the Worker was paid."""
    x = alt.X("word:O", title=say("the way up to this word", "到该词为止的移动"), sort=None)
    names = {row["word"]: row["name"] for row in rows}
    x.axis = alt.Axis(labelAngle=-40, labelExpr=f"{list(names.values())!r}[datum.value]")
    y = alt.Y("goal:O", title=say("goal set before word", "写下该词之前的目标"))
    y.axis = alt.Axis(labelExpr=f"{list(names.values())!r}[datum.value]")
    colour = alt.Color(
        "cosine:Q", title=say("cosine", "余弦"), scale=alt.Scale(scheme="redblue", domain=[-1, 1]), legend=alt.Legend()
    )
    base = chart(rows).encode(x=x, y=y)
    squares = base.mark_rect(stroke=CARD).encode(color=colour)
    framed = base.transform_filter("datum.in").mark_rect(fill=None, stroke=INK, strokeWidth=1.2)
    return alt.layer(squares, framed).properties(width=alt.Step(34), height=alt.Step(26))


def temperature(rows: Rows, say: Say) -> Any:
    """Two curves, with the temperatures beside the first, and the point of real text."""
    names = {
        "mle": say("maximum likelihood", "最大似然"),
        "game": say("after SeqGAN's rounds", "SeqGAN 对抗之后"),
        "real": say("real text", "真实文本"),
    }
    named = [row | {"name": names[row["model"]]} for row in rows]
    colours = alt.Scale(domain=list(names.values()), range=[BLUE, ORANGE, INK])
    base = chart(named).encode(
        x=alt.X(
            "valid:Q",
            title=say("share of samples that the language knows", "合法样本的比例"),
            scale=alt.Scale(zero=False),
        ),
        y=alt.Y("distinct:Q", title=say("share of different samples", "互不相同的比例"), scale=alt.Scale(zero=False)),
        color=alt.Color("name:N", title=None, scale=colours),
    )
    line = base.mark_line().encode(order="temperature:Q").transform_filter("datum.temperature !== null")
    dots = base.mark_point(filled=True, size=55, opacity=1)
    at = base.transform_filter("datum.model === 'mle'").mark_text(dx=-8, dy=11, fontSize=10)
    return alt.layer(line, dots, at.encode(text=alt.Text("temperature:Q", format=".1f"))).properties(
        width=440, height=240
    )
