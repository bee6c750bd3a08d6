"""What the numbers are computed in, and what lowers the memory of one device."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, NO_INFLUENCE, TAKES_EFFECT, exactly, group, nearly, param

AUTO, ON, OFF = "auto", "on", "off"
FULL_CHECKPOINTS, SELECTIVE, OFFLOAD = "full", "selective", "offload"


@group("Precision and memory", order=50)
class Precision:
    """Data types, memory and kernels."""

    mixed_precision: str | None = param(
        None,
        "Data type that the model computes in.",
        choices=("fp16", "bf16", "fp32"),
        default_words="bf16 if the machine supports it, else fp32",
        used_by_inference=True,
        aliases="amp compute_dtype dtype half precision torch_dtype torch_dtype_str use_bf16 use_fp16",
        choice_aliases={
            "fp32": "no none false float32 32 32-true full float",
            "bf16": "bfloat16 bf16-mixed bf16-true use_bf16",
            "fp16": "float16 half 16 16-mixed 16-true amp fp16-mixed use_fp16",
        },
        meanings={
            "auto": exactly(),
            "true": nearly("there are two types of 16 bits", mixed_precision="bf16"),
            "fp8 mxfp8 nvfp4": nearly("bf16 is the smallest type", mixed_precision="bf16"),
        },
        on_resume=TAKES_EFFECT,
    )
    gradient_checkpointing: bool | str | None = param(
        None,
        "Recompute activations in the backward pass to save memory: all of a layer (`full`, as without a word), all but matrix products and attention (`selective`), or all, with the inputs of layers in main memory (`offload`, on a GPU).",
        also=(FULL_CHECKPOINTS, SELECTIVE, OFFLOAD),
        default_words="only if memory is short",
        aliases=(
            "activation_checkpointing enable_activation_checkpointing enable_gradient_checkpointing grad_checkpoint "
            "use_gradient_checkpointing"
        ),
        meanings={
            "unsloth offload_disk": nearly(
                "activations stay on the device, where `offload` keeps the inputs of layers in main memory",
                gradient_checkpointing=True,
            ),
        },
        on_resume=NO_INFLUENCE,
    )
    target_memory: str | None = param(
        None,
        "Plan for a device with this much memory (`24GiB`, `cpu:16GiB`): with --dry-run a GPU that is not present, else a limit for the present one.",
        metavar="SIZE",
        default_words="this machine's",
        searchable=False,
        on_resume=NO_INFLUENCE,
    )
    quantization: str | None = param(
        None,
        "Load the frozen base in 4 or 8 bits, with bitsandbytes (with --peft).",
        choices=("int4", "int8"),
        default_words="none",
        aliases="bits qlora quant_bits quant_method quantization_bit quantize use_4bit use_8bit use_qlora",
        choice_aliases={
            "int4": "4bit 4 nf4 bnb.nf4 bnb.nf4-dq bnb_4bit q4 qlora use_qlora use_4bit true",
            "int8": "8bit 8 bnb.int8 bnb.int8-training bnb_8bit q8 use_8bit",
        },
        meanings={
            "none no false 0 16 32": exactly(),
            "fp4 bnb.fp4 bnb.fp4-dq": nearly("the type is NF4", quantization="int4"),
            "fp8": nearly("the type is a whole number", quantization="int8"),
            "bnb bitsandbytes": nearly("it is the one method, and has 4 or 8 bits", quantization="int4"),
            "hqq eetq quanto gptq awq aqlm torchao mxfp4 2 3 5 6": nearly(
                "bitsandbytes is the one method, and has 4 or 8 bits", quantization="int4"
            ),
        },
        on_resume=FIXED,
    )
    attn_implementation: str | None = param(
        None,
        "Attention kernel.",
        choices=("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"),
        default_words="the fastest that the model and machine support",
        used_by_inference=True,
        aliases=(
            "attention_implementation attn_impl flash_attention flash_attention_2 flash_attn sdp_attention "
            "use_flash_attention use_flash_attn xformers_attention"
        ),
        choice_aliases={
            "flash_attention_2": "flash flash_attn fa2 kernels-community/flash-attn2 kernels-community/flash-attn flash_attention use_flash_attention use_flash_attn",
            "flash_attention_3": "fa3 kernels-community/flash-attn3 kernels-community/vllm-flash-attn3",
            "sdpa": "sdp_attention",
            "eager": "disabled off none vanilla",
        },
        meanings={
            "auto false": exactly(),
            "xformers_attention xformers sage sageattention": nearly(
                "torch chooses the kernel", attn_implementation="sdpa"
            ),
            "fp8 flash_attention_4 fa4": nearly("it is the newest", attn_implementation="flash_attention_3"),
        },
        on_resume=TAKES_EFFECT,
    )
    compile: str = param(
        AUTO,
        "Compile each decoder layer into one graph (torch.compile): takes a minute or more at the first step. `auto` does so where it was measured to be faster.",
        choices=(AUTO, ON, OFF),
        aliases="torch_compile use_torch_compile compile_model",
        choice_aliases={ON: "true yes", OFF: "false no"},
        searchable=False,
        on_resume=TAKES_EFFECT,
    )
