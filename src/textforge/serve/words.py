"""Every word of the page, in each language that it speaks; `{name}` is where a value goes."""

LANGUAGES = ("en", "zh")

WORDS: dict[str, tuple[str, str]] = {
    # The frame
    "title": ("Play with trained models", "试玩训练好的模型"),
    "other_language": ("中文", "English"),
    "parts": ("Parts of this page", "本页各部分"),
    "draw_part": ("Write", "写作"),
    "game_part": ("Which is real?", "哪个是真的？"),
    "training_part": ("Training", "训练"),
    "no_script": ("This page needs JavaScript.", "本页需要 JavaScript。"),
    "run": ("Run", "训练结果"),
    "temperature": ("Temperature", "温度"),
    # Writing
    "text": ("Text", "文本"),
    "text_hint": (
        "Empty: whole new texts. A beginning is continued. Each {blank} is one token to be filled in.",
        "留空则写全新的文本；写下开头则续写；每个 {blank} 代表一个待填的词元。",
    ),
    "num": ("How many", "数量"),
    "seed": ("Seed", "随机种子"),
    "any_seed": ("any", "任意"),
    "decode": ("Decoding", "解码方式"),
    "ancestral": ("the model itself", "模型本身（祖先采样）"),
    "greedy": ("greedy: the most probable token", "贪心：最可能的词元"),
    "top-k": ("top-k: among the k most probable", "top-k：最可能的 k 个之中"),
    "top-p": ("top-p: the nucleus of probability p", "top-p：概率之和为 p 的核"),
    "beam": ("beam search", "束搜索"),
    "rerank": ("rerank: what looks most real", "重排：看来最真的"),
    "resample": ("resample by the detector", "按检测器重采样"),
    "reject": ("reject by the detector", "按检测器拒绝采样"),
    "mcts": ("tree search with the detector", "检测器引导的树搜索"),
    "k": ("k", "k"),
    "p": ("p", "p"),
    "width": ("Beam width", "束宽"),
    "candidates": ("Candidates", "候选数"),
    "simulations": ("Simulations a token", "每个词元的模拟次数"),
    "draw": ("Write", "写"),
    "working": ("Working ...", "计算中……"),
    "loading": ("Loading the model ...", "正在加载模型……"),
    "about": (
        "Splits text by {tokenizer}; {size} tokens known, at most {length} a text.",
        "按 {tokenizer} 切分；认识 {size} 个词元，每段最多 {length} 个。",
    ),
    "about_noise": (
        "Noise drives this model, so the probability of a single token is not known.",
        "此模型由噪声驱动，单个词元的概率无从得知。",
    ),
    "about_detector": (
        "Colours: its detector's opinion of the text up to each token, learnt at temperature {temperature}.",
        "颜色：检测器对截至每个词元的文本的看法（在温度 {temperature} 下学得）。",
    ),
    "about_own": (
        "It has no detector (textforge detector RUN trains one); its own discriminator judges whole texts: the colour "
        "behind each.",
        "没有检测器（可用 textforge detector RUN 训练）；由它自己的判别器评判整段文本：见每段后的颜色。",
    ),
    "about_none": (
        "It has neither a detector (textforge detector RUN trains one) nor a discriminator, so nothing is coloured.",
        "既无检测器（可用 textforge detector RUN 训练）也无判别器，所以没有颜色。",
    ),
    "why": ("The detector: {why}", "关于检测器：{why}"),
    "legend_generated": ("looks generated", "像是生成的"),
    "legend_real": ("looks real", "像是真的"),
    "legend_prob": ("bar: the generator's probability of the token", "横条：生成器给该词元的概率"),
    "samples": ("Texts; arrow keys go from token to token", "文本；用方向键逐个查看词元"),
    "end": ("end of the text", "文本结束"),
    "part_of_character": ("part of a character", "字符的一部分"),
    "token_given": ("{token}: given", "{token}：已给定"),
    "token": ("{token}", "{token}"),
    "token_prob": ("{token}: probability {prob}", "{token}：概率 {prob}"),
    "token_real": ("; up to here real with {real}", "；到此为真的可能 {real}"),
    "text_real": ("real: {real}", "真：{real}"),
    # The game
    "game_hint": (
        "One text was held out from the training, the other was written by a run, and you do not know by which. "
        "Who cannot tell is right half of the time.",
        "一段是训练中留出的真实文本，另一段由某个模型写成，但不告诉你是哪个。分辨不出的人有一半时候猜对。",
    ),
    "against": ("Texts of these runs, mixed", "混用以下模型的文本"),
    "begin": ("New game", "新游戏"),
    "question": ("Which text is real? Press 1 or 2.", "哪段是真的？按 1 或 2。"),
    "right": ("Right: text {real} is real; the other is of {run}.", "猜对了：第 {real} 段是真的；另一段出自 {run}。"),
    "wrong": ("No: text {real} is real; the other is of {run}.", "猜错了：第 {real} 段才是真的；另一段出自 {run}。"),
    "next": ("Next", "下一轮"),
    "score": (
        "How often you were right, with its 95 % interval; while that holds 50 %, it may be luck",
        "你猜对的比例及其 95% 区间；只要区间含 50%，就可能只是运气",
    ),
    "guesses": ("guesses", "次数"),
    "share": ("right", "猜对"),
    "interval": ("interval", "区间"),
    "no_run_chosen": ("Choose at least one run.", "请至少选择一个模型。"),
    # The training
    "state": ("Step {step} after {time}, phase {phase}.", "第 {step} 步，已用 {time}，阶段 {phase}。"),
    "no_record": ("Nothing is recorded yet.", "尚无记录。"),
    "live": ("This part follows the run while it writes.", "训练期间此处会自动更新。"),
    "curve": (
        "{name}: {last} at step {step}; lowest {low}, highest {high}",
        "{name}：第 {step} 步为 {last}；最低 {low}，最高 {high}",
    ),
    "latest": ("Samples at step {step}", "第 {step} 步的样本"),
    "empty_text": ("an empty text", "空文本"),
    # What goes wrong
    "busy": ("The machine is busy; try again in {seconds} s.", "机器正忙；请 {seconds} 秒后再试。"),
    "failed": ("It did not work: {error}", "没有成功：{error}"),
    "offline": ("The server does not answer; is it still running?", "服务器没有应答；它还在运行吗？"),
}
