"""What other sections of the textbook use: small models, data, tensor helpers.

One module per framework, loaded when one of its names is asked of that framework's
module (`d2l_utils.torch.LeNet`). The names are those of `d2l` 1.0.3 in its sections
on linear regression and classification, convolutional and modern convolutional
networks; models are written here as in those sections, in each framework's idiom.
"""
