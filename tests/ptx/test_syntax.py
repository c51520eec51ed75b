# SPDX-License-Identifier: Apache-2.0
"""PTX is read as it is written."""

import pytest

from ptx.syntax import Instruction, Label, PtxError, Registers, Scope, Variable, read_kernels

MODULE = """
.version 8.8
.target sm_75 // a comment
.shared .align 8 .b8 of_module[64];
.entry _ZN5dbnet12_GLOBAL__N__11tile_kernelI6__halfEEvNS_10TileParamsE(
    .param .align 8 .b8 _ZN_param_0[104],
    .param .u64 _ZN_param_1
)
.maxntid 32, 8, 1
{
    .reg .pred %p<2>;
    .reg .b64 %SP;
    .local .align 16 .b8 __local_depot0[32];
    .loc 1 339 0
    mov.u64 %rd1, of_module; /* another */
$L__BB0_1:
    .loc 2 58 5, function_name $L__info_string0, inlined_at 1 344 9
    @!%p1 bra $L__BB0_1;
    { cvt.f32.f16 %f1, %rs1;}
    ld.param.v2.u32 {%r1, %r2}, [_ZN_param_0+-8];
    ret;
}
.file 1 "kernels/components.cu"
.file 2 "/somewhere/kernels/portable.hpp"
"""


def test_a_kernel_is_read() -> None:
    (kernel,) = read_kernels(MODULE)
    assert kernel.name == "tile_kernel<half>"
    assert kernel.max_threads == 256
    assert [(each.name, each.size) for each in kernel.parameters] == [
        ("_ZN_param_0", 104),
        ("_ZN_param_1", 8),
    ]
    assert kernel.module_variables == (Variable("shared", "of_module", 8, 64),)
    first, second = ("components.cu:339",), ("portable.hpp:58", "components.cu:344")
    assert kernel.body == (
        Registers("pred", "%p", 2),
        Registers("b64", "%SP", None),
        Variable("local", "__local_depot0", 16, 32),
        Instruction("", "mov.u64", ("%rd1", "of_module"), first),
        Label("$L__BB0_1"),
        Instruction("!%p1", "bra", ("$L__BB0_1",), second),
        Scope("{"),
        Instruction("", "cvt.f32.f16", ("%f1", "%rs1"), second),
        Scope("}"),
        Instruction("", "ld.param.v2.u32", ("{%r1, %r2}", "[_ZN_param_0+-8]"), second),
        Instruction("", "ret", (), second),
    )


def test_instructions_are_written_as_they_were_read() -> None:
    (kernel,) = read_kernels(MODULE)
    assert str(kernel.body[5]) == "@!%p1 bra $L__BB0_1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".entry k() { ret;", "no end"),
        (".entry k() { 5 + 5; }", "expected an instruction"),
        (".entry k(.param .b99 x) { }", "declaration of a variable"),
    ],
)
def test_what_is_not_understood_is_an_error(text: str, message: str) -> None:
    with pytest.raises(PtxError, match=message):
        read_kernels(text)
